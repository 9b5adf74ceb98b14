"""Money as text: active ISO 4217 currencies with their digits, and exact amounts. No float anywhere."""

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

# The smallest amount of each: what an amount is brought to the digits of.
_UNITS: dict[str, Decimal] = {code: Decimal(1).scaleb(-digits) for code, digits in CURRENCIES.items()}

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


def parse_amount(text: object, currency: object) -> Decimal:
    """Return the exact amount of a JSON string such as "125.50" (contract §2).

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
    digits = digits_of(currency)
    if len(match.group(1) or "") > digits:
        raise AmountError(f"{currency} has {digits} digits after the point at most.")
    return amount


def format_amount(amount: Decimal, currency: str) -> str:
    """Return the amount with exactly the currency's digits, never in scientific notation: "125.50", "100", "0.000".

    Raises CurrencyError, or AmountError where digits would be lost (a stored amount that no client can have sent).
    """
    digits_of(currency)
    try:
        exact = amount.quantize(_UNITS[currency], context=_EXACT)
    except DecimalException:
        raise AmountError(f"Cannot be written exactly in {currency}.") from None
    if not exact.is_finite():
        raise AmountError("Is not a number.")
    return format(exact, "f")
