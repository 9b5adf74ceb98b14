"""Whose work this is: the names that log lines and events carry, from the request through all processes to its result.

The request id travels in the event as CloudEvents' extension `correlationid`; a Consumer that returns it (and its
`traceparent`) as members of the result lets the way back be followed too. Both are text that somebody else may have
chosen: read by their pattern or not at all.
"""

import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_CORRELATION = re.compile(rb'"correlationid"\s*:\s*"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"')
# Ids of zeros alone are none (W3C Trace Context, section 3.2.2).
_VERSION_00 = "00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(_VERSION_00)
_TRACEPARENT_MEMBER = re.compile(rf'"traceparent"\s*:\s*"({_VERSION_00})"'.encode())

_names: ContextVar[Mapping[str, str]] = ContextVar("names", default={})  # noqa: B039 - never changed in place


def names() -> Mapping[str, str]:
    """What is known: request_id, client, transaction_id, event_id, webhook_id."""
    return _names.get()


def start(**known: str) -> None:
    """Forgets what was known and knows this. For the beginning of a request: a server's thread serves many."""
    _names.set(known)


def add(**known: str) -> None:
    """Learns something more."""
    _names.set({**_names.get(), **known})


@contextmanager
def about(**known: str) -> Iterator[None]:
    """Knows something more for a while."""
    token = _names.set({**_names.get(), **known})
    try:
        yield
    finally:
        _names.reset(token)


def correlation_of(body: bytes) -> str | None:
    """The request id that an event or a result carries."""
    found = _CORRELATION.search(body)
    return found.group(1).decode() if found else None


def read_traceparent(header: str) -> str | None:
    """The W3C trace context (version 00) of a header, when it is readable."""
    return header if _TRACEPARENT.fullmatch(header) else None


def new_traceparent() -> str:
    """A trace of our own for what came without one (W3C Trace Context), named like the request where there is one.

    Marked as sampled although we keep no span of it: unmarked, whoever follows it would not either.
    """
    trace_id = _names.get().get("request_id", "").replace("-", "") or f"{random.getrandbits(128) | 1:032x}"
    return f"00-{trace_id}-{random.getrandbits(64) | 1:016x}-01"


def traceparent_of(body: bytes) -> str | None:
    """The W3C trace context that an event or a result carries."""
    found = _TRACEPARENT_MEMBER.search(body)
    return found.group(1).decode() if found else None
