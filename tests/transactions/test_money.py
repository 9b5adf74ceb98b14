"""Amounts and currencies: what the contract allows, exactly."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transactions.fields import ExactDecimalField
from transactions.money import (
    CURRENCIES,
    NOT_TWO_DIGITS,
    STORED_DIGITS,
    AmountError,
    CurrencyError,
    digits_of,
    format_amount,
    parse_amount,
)


@pytest.mark.parametrize(
    "code, digits",
    [
        ("EUR", 2),
        ("USD", 2),
        ("JPY", 0),
        ("KRW", 0),
        ("KWD", 3),
        ("BHD", 3),
        ("CLF", 4),
        ("UYW", 4),
        ("CHE", 2),
        ("USN", 2),
        ("UYI", 0),
        ("XOF", 0),
        ("XCG", 2),
    ],
)
def test_active_currencies_have_their_digits(code: str, digits: int) -> None:
    assert digits_of(code) == CURRENCIES[code] == digits


@pytest.mark.parametrize("code", ["XAU", "XAG", "XDR", "XXX", "XTS", "XSU", "XUA", "XBA"])
def test_codes_without_a_minor_unit_are_no_currencies(code: str) -> None:
    with pytest.raises(CurrencyError):
        digits_of(code)


@pytest.mark.parametrize(
    "code", ["eur", "ЕUR", "EUR ", "EURO", "", "DEM", "HRK", "BGN", "978", None, 978, True, ["EUR"]]
)
def test_what_is_no_active_code_is_refused(code: object) -> None:
    with pytest.raises(CurrencyError):
        digits_of(code)


def test_every_code_is_three_capitals_with_0_to_4_digits() -> None:
    assert len(CURRENCIES) > 150
    for code, digits in CURRENCIES.items():
        assert len(code) == 3 and code.isascii() and code.isupper()
        assert digits in (0, 2, 3, 4)


@pytest.mark.parametrize(
    "text, currency, amount",
    [
        ("125.50", "EUR", "125.50"),
        ("0.01", "EUR", "0.01"),
        ("1", "EUR", "1"),
        ("1.5", "EUR", "1.5"),
        ("999999999999999.99", "EUR", "999999999999999.99"),
        ("100", "JPY", "100"),
        ("0.001", "KWD", "0.001"),
        ("999999999999999.9999", "CLF", "999999999999999.9999"),
    ],
)
def test_good_amounts_are_exact(text: str, currency: str, amount: str) -> None:
    assert parse_amount(text, currency) == Decimal(amount)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0.00",
        "-1",
        "-0.00",
        "+1",
        "1e3",
        "1E3",
        "1e1000000",
        "1e-1000000",
        "0e999999999",
        "1_000",
        "1,000",
        "1,50",
        " 1",
        "1 ",
        "1\n",
        "1.50\n",
        "\n1",
        "01",
        "00.10",
        ".5",
        "5.",
        "1.2.3",
        "0x10",
        "NaN",
        "Infinity",
        "sNaN",
        "١٢",
        "１２",
        "1.٥",
        "²",
        "1\x00",
        "1.001",
        "1.500",
        "1000000000000000",
        "9" * 5000,
        "0." + "0" * 60000 + "1",
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_bad_amounts_are_refused(text: str) -> None:
    with pytest.raises(AmountError) as caught:
        parse_amount(text, "EUR")
    assert caught.value.detail.endswith(".")


@pytest.mark.parametrize("value", [1, 1.5, True, None, ["1"], {"a": "1"}, b"1", Decimal("1")])
def test_only_a_string_is_an_amount(value: object) -> None:
    with pytest.raises(AmountError, match="string"):
        parse_amount(value, "EUR")


@pytest.mark.parametrize("text, currency", [("1.0", "JPY"), ("1.005", "EUR"), ("1.0005", "KWD"), ("1.00005", "UYW")])
def test_more_digits_than_the_currency_has_are_refused(text: str, currency: str) -> None:
    with pytest.raises(AmountError, match=currency):
        parse_amount(text, currency)


def test_a_bad_amount_is_reported_before_a_bad_currency_and_a_good_one_leaves_the_currency() -> None:
    with pytest.raises(AmountError):
        parse_amount("1e3", "eur")
    with pytest.raises(CurrencyError):
        parse_amount("1.00000", "eur")


@pytest.mark.parametrize(
    "amount, currency, text",
    [
        ("125.5000", "EUR", "125.50"),
        ("1E+2", "EUR", "100.00"),
        ("1E+2", "JPY", "100"),
        ("0.001", "KWD", "0.001"),
        ("1E-4", "CLF", "0.0001"),
        ("999999999999999.9999", "UYW", "999999999999999.9999"),
        ("0", "KWD", "0.000"),
        ("123456789012345678901234567890", "EUR", "123456789012345678901234567890.00"),
    ],
)
def test_amounts_are_written_with_exactly_the_digits(amount: str, currency: str, text: str) -> None:
    assert format_amount(Decimal(amount), currency) == text


def test_the_digits_of_every_currency_are_known_when_it_leaves_the_list():
    """Fails when a release of the list brings a code or a number of digits that is not in our own table: add it there."""
    assert {code: digits for code, digits in CURRENCIES.items() if digits != 2}.items() <= NOT_TWO_DIGITS.items()
    assert not {code for code, digits in CURRENCIES.items() if digits == 2} & set(NOT_TWO_DIGITS)
    assert ExactDecimalField.decimal_places == STORED_DIGITS


@pytest.mark.parametrize(
    "amount, currency, text",
    [("1.5", "BGN", "1.50"), ("100.0000", "JPY", "100"), ("1.5", "KWD", "1.500"), ("1.5", "CLF", "1.5000")],
)
def test_what_is_no_longer_active_keeps_its_digits(monkeypatch, amount, currency, text):
    monkeypatch.delitem(CURRENCIES, currency, raising=False)
    assert format_amount(Decimal(amount), currency) == text


@pytest.mark.parametrize(
    "amount, currency, digits, text",
    [
        ("1.5000", "EUR", 0, "1.50"),
        ("2.0000", "EUR", 0, "2"),
        ("1.5", "EUR", 3, "1.500"),
        ("1.005", "EUR", 2, "1.0050"),
    ],
)
def test_other_digits_than_when_it_was_stored_lose_nothing(monkeypatch, amount, currency, digits, text):
    monkeypatch.setitem(CURRENCIES, currency, digits)
    assert format_amount(Decimal(amount), currency) == text


@pytest.mark.parametrize("amount", ["1.00005", "NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_would_be_rounded_or_is_no_number_is_never_written(amount: str) -> None:
    with pytest.raises(AmountError):
        format_amount(Decimal(amount), "EUR")


@given(st.sampled_from(sorted(CURRENCIES)), st.integers(1, 10**15 - 1))
def test_what_is_written_is_read_back_equal(currency: str, minor: int) -> None:
    amount = Decimal(minor).scaleb(-CURRENCIES[currency])
    text = format_amount(amount, currency)
    assert parse_amount(text, currency) == amount
    assert len(text.partition(".")[2]) == CURRENCIES[currency]


@given(st.text() | st.from_regex(r"[0-9.eE+_-]{0,12}"))
def test_whatever_is_accepted_is_plain_and_positive(text: str) -> None:
    try:
        amount = parse_amount(text, "KWD")
    except AmountError:
        return
    assert amount > 0 and set(text) <= set("0123456789.") and text == text.strip()


def test_a_huge_text_is_refused_at_once() -> None:
    started = time.perf_counter()
    with pytest.raises(AmountError):
        parse_amount("9" * 2_000_000, "EUR")
    assert time.perf_counter() - started < 0.05
