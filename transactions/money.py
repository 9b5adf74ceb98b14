"""Money as text: ISO 4217 currencies with their digits, and exact amounts. No float anywhere.

What comes in is judged by the currencies that are active today. What is stored was judged when it came in: it is always
written, whatever the list says by now.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation

from iso4217 import raw_table

# 15 digits, the point and as many digits as any currency has (4) need 20. Checked before the regex, so that a body of
# 64 KiB of digits costs nothing and never reaches Decimal.
MAX_AMOUNT_CHARACTERS = 32

# Digits after the point by code, from ISO 4217 list one (active codes). Gold (XAU), drawing rights (XDR), the test code
# (XTS) and "no currency" (XXX) have "N.A." there: nothing says how to write an amount of them, so we refuse them.
CURRENCIES: dict[str, int] = {
    code: int(str(entry["CcyMnrUnts"]))
    for code, entry in raw_table.items()
    if code and str(entry["CcyMnrUnts"]).isdigit()
}

# Digits of the codes that have not two, kept here because amounts outlive the code: one that leaves list one is written as
# before. Only grows; a test fails when the list has one that is missing here.
_NOT_TWO = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
NOT_TWO_DIGITS: dict[str, int] = {code: digits for digits, codes in _NOT_TWO.items() for code in codes.split()}

# As many digits as the column of amounts has: so many write every stored amount exactly.
STORED_DIGITS = 4

# The smallest amount by digits: what an amount is brought to the digits of.
_UNITS = [Decimal(1).scaleb(-digits) for digits in range(STORED_DIGITS + 1)]

# ASCII digits only: \d would take Arabic and full-width ones. Used with fullmatch: `$` would let a newline through.
_AMOUNT = re.compile(r"(?:0|[1-9][0-9]{0,14})(?:\.([0-9]+))?")
# Traps, so that a lost digit is an error and never a rounding.
_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation])


class AmountError(ValueError):
    """The amount breaks the contract (422 at its pointer); `detail` is for the client and repeats none of the input."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CurrencyError(ValueError):
    """No active ISO 4217 currency with a minor unit (422 at its pointer); `detail` as in AmountError."""

    def __init__(self) -> None:
        self.detail = "Must be an active ISO 4217 currency code, such as EUR."
        super().__init__(self.detail)


def digits_of(currency: object) -> int:
    """Return how many digits the currency has after the point (JPY 0, EUR 2, KWD 3); raise CurrencyError if none."""
    digits = CURRENCIES.get(currency) if isinstance(currency, str) else None
    if digits is None:
        raise CurrencyError
    return digits


def stored_digits_of(currency: str) -> int:
    """How many digits a currency has in which something is stored: today's, or those that it had when it left the list."""
    return CURRENCIES.get(currency, NOT_TWO_DIGITS.get(currency, 2))


def parse_amount(text: object, currency: object, digits: int | None = None) -> Decimal:
    """Return the exact amount of a JSON string such as "125.50" (contract §2); `digits`: where the caller knows them.

    Raises AmountError for what no currency allows; then CurrencyError; then AmountError for too many digits after the
    point. So a caller sees both faults of a body that has both.
    """
    if not isinstance(text, str):
        raise AmountError('Must be a string, such as "125.50".')
    if len(text) > MAX_AMOUNT_CHARACTERS:
        raise AmountError("Has too many digits: at most 15 before the point.")
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise AmountError('Must be plain digits with an optional point, such as "125.50", at most 15 before the point.')
    amount = Decimal(text)
    if not amount:
        raise AmountError("Must be greater than zero.")
    if digits is None:
        digits = digits_of(currency)
    if len(match.group(1) or "") > digits:
        raise AmountError(f"{currency} has {digits} digits after the point at most.")
    return amount


def fits(amount: Decimal, digits: int) -> bool:
    """Whether so many digits after the point write the amount exactly."""
    try:
        amount.quantize(_UNITS[digits], context=_EXACT)
    except DecimalException:
        return False
    return True


def format_amount(amount: Decimal, currency: str) -> str:
    """Return the amount with exactly the currency's digits, never in scientific notation: "125.50", "100", "0.000".

    Never refuses what can be stored: a code that is no longer active keeps its digits, and where a currency has fewer than
    when the amount came in, it is written as then. Raises AmountError for what is no number, or finer than the column.
    """
    for digits in (stored_digits_of(currency), NOT_TWO_DIGITS.get(currency, 2), STORED_DIGITS):
        try:
            exact = amount.quantize(_UNITS[digits], context=_EXACT)
        except DecimalException:
            continue
        if not exact.is_finite():
            break
        return format(exact, "f")
    raise AmountError("Is not a number, or cannot be written exactly.")
