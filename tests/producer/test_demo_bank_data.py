"""The made-up bank data: within the contract's limits, exact, the same for the same seed."""

import itertools
import re
from datetime import UTC, datetime

import pytest

from producer.demo.bank_data import (
    CURRENCY_DIGITS,
    Body,
    bank_transactions,
    iban_is_valid,
    make_iban,
    statement_rows,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def bodies() -> list[Body]:
    return list(itertools.islice(bank_transactions(7, NOW), 1000))


def test_the_same_seed_gives_the_same_bodies(bodies: list[Body]) -> None:
    assert list(itertools.islice(bank_transactions(7, NOW), 1000)) == bodies
    assert list(itertools.islice(bank_transactions(8, NOW), 1000)) != bodies


def test_every_body_keeps_to_the_contract(bodies: list[Body]) -> None:
    for body in bodies:
        assert re.fullmatch(r"[A-Za-z0-9./:-]([A-Za-z0-9 ./:-]{0,32}[A-Za-z0-9./:-])?", body["account_number"]), body
        assert re.fullmatch(r"(0|[1-9][0-9]{0,14})(\.[0-9]+)?", body["amount"]), body
        assert body["amount"].strip("0.") != "", body
        assert body["direction"] in ("debit", "credit")
        assert 0 < len(body["description"]) <= 255
        assert body["description"].isprintable()
        assert datetime.fromisoformat(body["transaction_date"]).utcoffset() is not None


def test_amounts_have_the_digits_of_their_currency(bodies: list[Body]) -> None:
    for body in bodies:
        fraction = body["amount"].partition(".")[2]
        assert len(fraction) == CURRENCY_DIGITS[body["currency"]], body


def test_every_kind_occurs(bodies: list[Body]) -> None:
    assert {body["currency"] for body in bodies} == set(CURRENCY_DIGITS)
    ibans = [b["account_number"] for b in bodies if re.fullmatch(r"[A-Z]{2}\d{14,}", b["account_number"])]
    assert {iban_is_valid(iban) for iban in ibans} == {True, False}
    assert any(body["account_number"] == "50880050/0194804000888" for body in bodies)
    assert any(len(body["amount"].partition(".")[0]) == 15 for body in bodies)
    text = " ".join(body["description"] for body in bodies)
    assert "ß" in text
    assert "Ż" in text


def test_external_ids_are_unique_and_short(bodies: list[Body]) -> None:
    ids = [body["external_id"] for body in bodies if "external_id" in body]
    assert len(ids) == len(set(ids))
    assert max(map(len, ids)) <= 64


def test_each_statement_row_occurs_once(bodies: list[Body]) -> None:
    rows = statement_rows()
    assert len(rows) == 18
    assert [body for body in bodies if "external_id" not in body] == rows


def test_check_digits_are_those_of_the_standard() -> None:
    assert make_iban("DE", "370400440532013000") == "DE89370400440532013000"
    assert iban_is_valid("DE89370400440532013000")
    assert not iban_is_valid("DE88370400440532013000")
