"""The rules: checksum, limits, dates, twins."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.events import Txn
from processing.rules import Limits, decide, fingerprint, iban_checksum_holds, looks_like_iban

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def txn(**changes: Any) -> Txn:
    values = {
        "account_number": "DE89370400440532013000",
        "amount": "125.50",
        "currency": "EUR",
        "direction": "debit",
        "transaction_date": "2026-11-22T10:15:00Z",
        "description": "Invoice 881",
    }
    return Txn(**{**values, **changes})


@pytest.mark.parametrize(
    "account",
    [
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "gb82west12345698765432",
        "NO9386011117947",
        "PL61109010140000071219812874",
        "MT84MALT011000012345MTLCAST001S",
    ],
)
def test_a_good_iban_succeeds(account: str) -> None:
    verdict = decide(txn(account_number=account), NOW, Limits(), None)
    assert (verdict.outcome, verdict.reasons, verdict.error) == ("succeeded", [], None)
    assert verdict.checks["account"] == "IBAN checksum holds"


@pytest.mark.parametrize("account", ["DE89370400440532013001", "DE98370400440532013000", "GB00WEST12345698765432"])
def test_a_wrong_checksum_fails_as_invalid_account(account: str) -> None:
    verdict = decide(txn(account_number=account), NOW, Limits(), None)
    assert verdict.outcome == "failed"
    assert verdict.reasons == ["invalid_account"]
    assert verdict.error is not None
    assert verdict.error["code"] == "invalid_account"
    assert account not in verdict.error["message"]


@pytest.mark.parametrize(
    "account", ["50880050/0194804000888", "1", "12-34-56 12345678", "DE89", "AB12:345678901234567"]
)
def test_what_is_no_iban_is_not_held_to_its_checksum(account: str) -> None:
    verdict = decide(txn(account_number=account), NOW, Limits(), None)
    assert verdict.outcome == "succeeded"
    assert verdict.checks["account"] == "not an IBAN: checksum not applicable"


@given(st.integers(4, 21), st.sampled_from("0123456789"))
def test_one_changed_digit_of_an_iban_is_noticed(position: int, digit: str) -> None:
    good = "DE89370400440532013000"
    changed = good[:position] + digit + good[position + 1 :]
    assert looks_like_iban(changed)
    assert iban_checksum_holds(changed) == (changed == good)


def test_an_amount_over_the_review_limit_succeeds_with_a_flag() -> None:
    limits = Limits(review={"*": "1000"})
    over = decide(txn(amount="1000.01"), NOW, limits, None)
    assert (over.outcome, over.reasons) == ("succeeded", ["review_amount"])
    assert decide(txn(amount="1000.00"), NOW, limits, None).reasons == []


def test_the_limit_of_a_currency_goes_before_the_general_one() -> None:
    limits = Limits(review={"*": "1000", "JPY": "150000"})
    assert decide(txn(amount="150000", currency="JPY"), NOW, limits, None).reasons == []


def test_fifteen_digits_are_compared_exactly() -> None:
    limits = Limits(hard={"EUR": "999999999999999.98"})
    assert decide(txn(amount="999999999999999.99"), NOW, limits, None).outcome == "failed"
    assert decide(txn(amount="999999999999999.98"), NOW, limits, None).outcome == "succeeded"


def test_fifteen_digits_succeed_without_a_hard_limit() -> None:
    assert decide(txn(amount="999999999999999.99"), NOW, Limits(review={"*": "1"}), None).outcome == "succeeded"


def test_every_failure_is_a_reason_and_the_first_is_the_error() -> None:
    verdict = decide(txn(account_number="DE89370400440532013001", amount="2"), NOW, Limits(hard={"*": "1"}), "other")
    assert verdict.reasons == ["invalid_account", "limit_exceeded", "possible_duplicate"]
    assert verdict.error is not None
    assert verdict.error["code"] == "invalid_account"


def test_a_twin_is_a_suspicion_and_not_a_failure() -> None:
    verdict = decide(txn(), NOW, Limits(), "0199-other")
    assert (verdict.outcome, verdict.reasons) == ("succeeded", ["possible_duplicate"])
    assert "0199-other" in verdict.checks["duplicate"]


@pytest.mark.parametrize(
    ("date", "reasons"),
    [
        ("2026-11-23T11:59:59Z", []),
        ("2026-11-23T12:00:01Z", ["future_dated"]),
        ("2026-11-23T14:00:01+02:00", ["future_dated"]),
        ("2026-11-22", []),
        ("soon", []),
        ("", []),
    ],
)
def test_a_date_more_than_a_day_ahead_is_flagged(date: str, reasons: list[str]) -> None:
    assert decide(txn(transaction_date=date), NOW, Limits(), None).reasons == reasons


def test_equal_payments_have_one_fingerprint_however_they_are_written() -> None:
    assert fingerprint(txn()) == fingerprint(
        txn(amount="125.5", account_number="de89 3704 0044 0532 0130 00", transaction_date="2026-11-22T23:00:00Z")
    )


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "125.51"},
        {"currency": "USD"},
        {"direction": "credit"},
        {"description": "Invoice 882"},
        {"transaction_date": "2026-11-21T10:15:00Z"},
        {"account_number": "DE89370400440532013001"},
    ],
)
def test_each_part_of_a_payment_counts_in_the_fingerprint(change: dict[str, str]) -> None:
    assert fingerprint(txn(**change)) != fingerprint(txn())
