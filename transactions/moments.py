"""Moments as the contract writes them: RFC 3339 with an offset in, UTC with `Z` out; pure."""

import re
from datetime import UTC, datetime
from typing import Any

_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-5][0-9])"
)
_WITHOUT_FRACTION = len("2026-11-22T10:15:00Z")


class FieldValueError(ValueError):
    """A field's value breaks its rule; the text is for the client and repeats none of the input."""


def read_moment(value: Any) -> datetime:
    """An RFC 3339 date-time with an offset, as UTC; digits beyond microseconds are cut. Raises FieldValueError."""
    match = _RFC3339.fullmatch(value) if isinstance(value, str) and len(value) <= 64 else None
    if match is None:
        raise FieldValueError("Must be an RFC 3339 date-time with an offset, such as 2026-11-22T10:15:00Z.")
    try:
        if len(value) == _WITHOUT_FRACTION and value.endswith("Z"):
            # The usual spelling, which Python reads by itself.
            return datetime.fromisoformat(value)
        fraction, offset = (match.group(7) or "")[:7], match.group(8).upper().replace("Z", "+00:00")
        return datetime.fromisoformat(f"{value[:10]}T{value[11:19]}{fraction}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise FieldValueError("Must be a date and time that exist, between the years 1 and 9999.") from None


def moment(value: datetime | None) -> str | None:
    """RFC 3339 in UTC with `Z`; fractions only where there are any."""
    if value is None:
        return None
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return f"{value.isoformat()[:-6]}Z"
