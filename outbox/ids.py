"""UUIDv7: ids that sort by the time they were made (RFC 9562 section 5.7)."""

import os
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_lock = threading.Lock()
_last_ticks = 0


def uuid7() -> uuid.UUID:
    """A UUIDv7 with sub-millisecond precision; strictly growing within one process.

    48 bits of milliseconds, 12 bits of 1/4096 ms (method 3 of RFC 9562 section 6.2), 62 random bits.
    """
    global _last_ticks
    ticks = time.time_ns() * 4096 // 1_000_000
    with _lock:
        # A clock that stands still or steps back must not make ids that sort before earlier ones.
        _last_ticks = ticks = max(ticks, _last_ticks + 1)
    return _from_ticks(ticks, int.from_bytes(os.urandom(8)))


def time_of(value: uuid.UUID) -> datetime:
    """The moment in a UUIDv7, in UTC, to the microsecond (rounded down)."""
    ticks = (value.int >> 80) * 4096 + ((value.int >> 64) & 0xFFF)
    return _EPOCH + timedelta(microseconds=ticks * 1000 // 4096)


def first_at(moment: datetime) -> uuid.UUID:
    """The smallest UUIDv7 whose `time_of` is at or after `moment`: turns a time filter into an id range."""
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    return _from_ticks(max(0, -(-microseconds * 4096 // 1000)), 0)


def _from_ticks(ticks: int, random_bits: int) -> uuid.UUID:
    milliseconds, fraction = divmod(ticks, 4096)
    value = (milliseconds & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62
    return uuid.UUID(int=value | random_bits & 0x3FFFFFFFFFFFFFFF)
