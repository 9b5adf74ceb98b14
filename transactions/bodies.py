"""Reads a request body within the contract's limits, before anything looks into it (RFC 9110 sections 8.3, 8.4)."""

import re

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.http.request import RawPostDataException

from transactions.problems import ProblemError

# RFC 9110 section 5.6.6 allows empty parameters; RFC 8259 defines none, but `charset=utf-8` says what is so anyway.
# A space has one place in it, before a semicolon or before a charset: with two, each more doubles the time of a refusal.
_JSON = re.compile(r'application/json(\s*;(\s*charset=("utf-8"|utf-8))?)*\s*', re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]+")
# A length with more of them is over every limit, and no number that Python would read.
_MOST_DIGITS = 19


def read_json_bytes(request: HttpRequest, limit: int) -> bytes:
    """The raw body of a JSON request of at most `limit` bytes.

    Raises ProblemError 415 (media type, encoding), 413 (too large, seen before reading where a length is given),
    411 (a body of unknown length that the server does not hand on).
    """
    if not _JSON.fullmatch(request.META.get("CONTENT_TYPE", "").strip()):
        raise ProblemError("unsupported-media-type", headers={"Accept": "application/json"})
    if request.META.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in {"", "identity"}:
        raise ProblemError(
            "unsupported-media-type",
            "Send the body without a Content-Encoding.",
            headers={"Accept-Encoding": "identity"},
        )
    return read_bytes(request, limit)


def read_bytes(request: HttpRequest, limit: int) -> bytes:
    """The raw body, whatever its type; ProblemError 413 when it is over `limit` bytes."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if _DIGITS.fullmatch(length):
        if len(length) > _MOST_DIGITS or int(length) > limit:
            raise _too_large(limit)
        try:
            raw = request.body
        except RequestDataTooBig:
            raise _too_large(limit) from None
        except (OSError, RawPostDataException):
            raise _cut_short() from None
        if len(raw) < int(length):
            # The client hung up, or counted wrongly: what there is may look like a whole (RFC 9112 section 8).
            raise _cut_short()
    elif "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        # Django reads nothing without a length; the server has undone the chunks and ends the stream itself.
        if not request.META.get("wsgi.input_terminated"):
            raise ProblemError("length-required")
        try:
            raw = request.META["wsgi.input"].read(limit + 1)
        except Exception:
            # Bad framing raises whatever the server's own class for it is; gunicorn's derive from Exception alone.
            raise ProblemError("malformed-json", "The body's chunks cannot be read.") from None
    else:
        raw = b""
    if len(raw) > limit:
        raise _too_large(limit)
    return raw


def _cut_short() -> ProblemError:
    return ProblemError("malformed-json", "The body ended before its Content-Length.")


def _too_large(limit: int) -> ProblemError:
    return ProblemError("content-too-large", f"The body may have {limit} bytes at most.")
