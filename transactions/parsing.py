"""The one strict JSON parser for every door: the API, the result webhook and the result queue.

RFC 8259 read strictly, with the I-JSON restrictions (RFC 7493) that keep two readers from disagreeing about one body:
UTF-8 only, no duplicate members, no number that a double cannot hold. Python's own `json` accepts NaN, keeps the last
of two duplicate members, turns 1e400 into infinity and raises RecursionError (no ValueError) on deep nesting.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn
from urllib.parse import quote

# Containers inside each other. Larger: a body that the Consumer's or the database's parser may refuse.
MAX_DEPTH = 32
# Characters in one number. Smaller than 309 would refuse our own answer to 1e308; above 4,300 Python refuses int().
MAX_NUMBER_CHARACTERS = 1_000
# Errors reported for one body. More would let a 2 MiB batch of bad names ask for a far larger answer.
MAX_POINTERS = 100

_BOM = b"\xef\xbb\xbf"
_BAD_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Those characters as they stand in UTF-8 or as an escape; it may find too much (an escaped backslash before an n).
_BAD_BYTES = re.compile(rb"\\[bfnrt]|\\u00[01789]|\\u[dD][89a-fA-F]|\x7f|\xc2[\x80-\x9f]")
# What a URI fragment may carry unencoded (RFC 3986 §3.5); "/" separates the parts.
_FRAGMENT_SAFE = "!$&'()*+,;=:@?-._~"


class MalformedJsonError(ValueError):
    """Not the JSON we accept (400 `malformed-json`). `detail` is for the client and shows no parser internals."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def parse_json(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value of a JSON text given as UTF-8 bytes; raise MalformedJsonError for anything else.

    Integral floats come back as int, so that what jsonb stores for `1e5` (100000) reads back equal. Strings are not
    judged here beyond RFC 8259: U+0000 or a lone surrogate written as an escape is valid JSON, see `find_bad_text`.
    """
    if raw.startswith(_BOM):
        raise MalformedJsonError("The body starts with a byte order mark; send plain UTF-8.")
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except MalformedJsonError:
        raise
    except UnicodeDecodeError:
        raise MalformedJsonError("The body is not valid UTF-8.") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except ValueError:
        detail = "The body is not valid JSON." if raw.strip(b" \t\r\n") else "The body is empty."
        raise MalformedJsonError(detail) from None
    # Few brackets cannot nest deeply: the usual single transaction never pays for the exact measure.
    deep_enough = isinstance(value, dict | list) and raw.count(b"[") + raw.count(b"{") > max_depth
    if deep_enough and _is_deeper_than(value, max_depth):
        raise _too_deep(max_depth)
    return value


def parse_object(raw: bytes) -> dict[str, Any]:
    """As `parse_json`, and the top must be an object; raise MalformedJsonError if it is anything else."""
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise MalformedJsonError("The body must be a JSON object.")
    return value


def find_bad_text(value: Any, *, limit: int = MAX_POINTERS) -> list[str]:
    """Return pointers to each string or member name with a C0, DEL or C1 control character or a lone surrogate.

    PostgreSQL refuses U+0000 and lone surrogates in text and jsonb; the other controls forge lines in logs and exports.
    In document order within each container, one pointer a member, at most `limit`. Iterative, so depth cannot hurt it.
    """
    if isinstance(value, str):
        return [pointer()] if _is_bad(value) else []
    found: list[str] = []
    # The path to a container is a linked list (parent, name), spelled out only where something is wrong.
    waiting: list[tuple[Any, Any]] = [(value, None)]
    while waiting and len(found) < limit:
        container, path = waiting.pop()
        children: list[tuple[Any, Any]] = []
        if type(container) is dict:
            for name, child in container.items():
                kind = type(child)
                if kind is dict or kind is list:
                    children.append((child, (path, name)))
                # isprintable() is a fast superset: no control character and no surrogate is printable.
                bad_name = not name.isprintable() and _is_bad(name)
                if bad_name or (kind is str and not child.isprintable() and _is_bad(child)):
                    found.append(_spell(path, name))
        elif type(container) is list:
            for index, child in enumerate(container):
                kind = type(child)
                if kind is dict or kind is list:
                    children.append((child, (path, index)))
                elif kind is str and not child.isprintable() and _is_bad(child):
                    found.append(_spell(path, index))
        waiting.extend(reversed(children))
    return found[:limit]


def may_hold_bad_text(raw: bytes) -> bool:
    """False when a parsed body holds no such character for certain: a search through its bytes, far faster than through it.

    Where JSON is well formed they stand as escapes, or are DEL, or C1, whose first byte in UTF-8 is C2.
    """
    suspect = b"\\" in raw or b"\x7f" in raw or b"\xc2" in raw
    return suspect and _BAD_BYTES.search(raw) is not None


def pointer(*parts: str | int) -> str:
    """Return a JSON Pointer as a URI fragment (RFC 6901 §6): pointer("metadata", "a/b") is "#/metadata/a~1b".

    Always plain ASCII: characters that cannot be sent (controls, lone surrogates) appear as U+FFFD, percent-encoded.
    """
    return "#" + "".join("/" + _escape(part) for part in parts)


def canonical(value: Any) -> bytes:
    """Return one spelling of a parsed value, for fingerprints: sorted names, no spaces, UTF-8.

    Raises ValueError for NaN and infinity, which `parse_json` never returns. Lone surrogates are encoded as they are,
    so that a fingerprint can be taken before the text has been judged.
    """
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def is_longer(value: Any, limit: int) -> bool:
    """Whether `canonical(value)` has more than `limit` bytes. Looks no further: `1e308` is five bytes of a body and 309 there."""
    size = 0
    for part in _ENCODER.iterencode(value):
        size += len(part.encode("utf-8", "surrogatepass"))
        if size > limit:
            return True
    return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJsonError("An object has the same member twice.")
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise MalformedJsonError("A number has too many digits.")
    return int(text)


def _float(text: str) -> float | int:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise MalformedJsonError("A number has too many digits.")
    number = float(text)
    if math.isinf(number):
        raise MalformedJsonError("A number is too large.")
    return int(number) if number.is_integer() else number


def _constant(_name: str) -> NoReturn:
    raise MalformedJsonError("NaN and Infinity are not JSON.")


def _too_deep(max_depth: int) -> MalformedJsonError:
    return MalformedJsonError(f"The body is nested more than {max_depth} levels deep.")


def _is_deeper_than(value: Any, max_depth: int) -> bool:
    # Level by level: an order faster than a look at the bytes, where brackets inside strings have to be told apart.
    level = [value]
    for _ in range(max_depth):
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _is_bad(text: str) -> bool:
    return _BAD_CHARACTER.search(text) is not None


def _spell(path: Any, name: str | int) -> str:
    parts = [name]
    while path is not None:
        path, parent = path
        parts.append(parent)
    return pointer(*reversed(parts))


def _escape(part: str | int) -> str:
    text = _BAD_CHARACTER.sub("\ufffd", str(part)).replace("~", "~0").replace("/", "~1")
    return quote(text, safe=_FRAGMENT_SAFE)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
