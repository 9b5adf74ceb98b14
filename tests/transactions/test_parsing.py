"""The strict JSON parser: what it refuses, what it returns, and where it points."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transactions.parsing import (
    MalformedJsonError,
    canonical,
    find_bad_text,
    is_longer,
    may_hold_bad_text,
    parse_json,
    parse_object,
    pointer,
)

MALFORMED = {
    "empty": b"",
    "only spaces": b" \r\n\t ",
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "utf-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "not utf-8": b'{"a": "\xff\xfe"}',
    "encoded surrogate": b'"\xed\xa0\x80"',
    "overlong utf-8": b'"\xc0\x80"',
    "cut off": b'{"a": ',
    "trailing comma": b'{"a": 1,}',
    "second value": b"{} {}",
    "single quotes": b"{'a': 1}",
    "comment": b"{} // x",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "minus Infinity": b'{"a": -Infinity}',
    "overflowing float": b'{"a": 1e400}',
    "overflowing negative float": b'{"a": -1e400}',
    "duplicate member": b'{"a": 1, "a": 1}',
    "duplicate member by escape": b'{"a": 1, "\\u0061": 2}',
    "duplicate member deep inside": b'[{"x": {"a": 1, "b": 2, "a": 3}}]',
    "integer of 5,000 digits": b"1" * 5_000,
    "negative integer of 1,001 digits": b"-" + b"1" * 1_001,
    "float of 5,000 digits": b"0." + b"1" * 5_000,
    "leading zero": b"01",
    "plus sign": b"+1",
    "underscore in a number": b"1_000",
    "full-width digit": "１".encode(),
    "raw control character in a string": b'"a\nb"',
    "raw NUL in a string": b'"a\x00b"',
    "raw NUL after the value": b"{}\x00",
    "bad escape": b'"\\x41"',
    "bad unicode escape": b'"\\u12g4"',
    "100,000 arrays": b"[" * 100_000,
    "100,000 closed arrays": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_json_is_refused_without_parser_internals(raw: bytes) -> None:
    with pytest.raises(MalformedJsonError) as caught:
        parse_json(raw)
    assert caught.value.detail.endswith(".")
    for leak in ("line", "column", "char", "Expecting", "codec", "recursion", "digits for"):
        assert leak not in caught.value.detail
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")])
def test_32_levels_are_accepted_and_33_are_not(opening: bytes, closing: bytes) -> None:
    assert parse_json(opening * 32 + b"1" + closing * 32) is not None
    with pytest.raises(MalformedJsonError, match="more than 32 levels"):
        parse_json(opening * 33 + b"1" + closing * 33)


def test_arrays_and_objects_count_together_and_an_empty_one_counts() -> None:
    assert parse_json(b'[{"a":' * 16 + b"1" + b"}]" * 16)
    with pytest.raises(MalformedJsonError):
        parse_json(b'[{"a":' * 16 + b"[]" + b"}]" * 16)


def test_brackets_inside_strings_neither_count_nor_hide_depth() -> None:
    assert parse_json(json.dumps(["[" * 500, "{" * 500, '\\"[']).encode())
    hidden = b'["]","]","]",' * 33 + b"1" + b"]" * 33
    with pytest.raises(MalformedJsonError, match="levels"):
        parse_json(hidden)


def test_many_shallow_containers_are_not_deep() -> None:
    assert len(parse_json(b"[" + b",".join([b"[{}]"] * 5_000) + b"]")) == 5_000


def test_the_depth_can_be_chosen() -> None:
    assert parse_json(b"[[1]]", max_depth=2) == [[1]]
    with pytest.raises(MalformedJsonError):
        parse_json(b"[[1]]", max_depth=1)


@pytest.mark.parametrize("text, value", [("1e5", 100_000), ("1.0", 1), ("-0.0", 0), ("2.50e1", 25), ("1e-400", 0)])
def test_integral_floats_become_int(text: str, value: int) -> None:
    parsed = parse_json(text.encode())
    assert parsed == value
    assert type(parsed) is int


def test_other_floats_stay_float() -> None:
    parsed = parse_json(b"[0.1, -1.5e-7]")
    assert parsed == [0.1, -1.5e-7]
    assert [type(number) for number in parsed] == [float, float]


def test_what_we_write_for_the_largest_float_can_be_read_again() -> None:
    value = parse_json(b"1.7976931348623157e308")
    assert parse_json(canonical(value)) == value


def test_a_byte_order_mark_is_named() -> None:
    with pytest.raises(MalformedJsonError, match="byte order mark"):
        parse_json(b"\xef\xbb\xbf{}")


def test_any_top_level_value_is_json_but_only_an_object_is_an_object() -> None:
    assert parse_json(b" null ") is None
    assert parse_object(b'{"a": [1, true, null, "\\u20ac"]}') == {"a": [1, True, None, "€"]}
    for raw in (b"[]", b"null", b'"a"', b"1", b"true"):
        with pytest.raises(MalformedJsonError, match="must be a JSON object"):
            parse_object(raw)
    with pytest.raises(MalformedJsonError, match="empty"):
        parse_object(b"")


def test_a_nearly_used_up_stack_is_malformed_and_no_crash() -> None:
    def dive(levels: int) -> Any:
        return dive(levels - 1) if levels else parse_json(b"[" * 900 + b"]" * 900)

    with pytest.raises(MalformedJsonError):
        dive(min(500, sys.getrecursionlimit() // 2))


BAD_CHARACTERS = ["\x00", "\x01", "\t", "\n", "\x1f", "\x7f", "\x80", "\x9f", "\ud800", "\udfff"]
GOOD_CHARACTERS = [" ", "~", "\xa0", "é", "€", "\u200b", "\u202e", "\ufffd", "\U0001f600", "\U0010ffff"]


@pytest.mark.parametrize("bad", BAD_CHARACTERS, ids=ascii)
def test_bad_characters_are_found_in_values_and_names(bad: str) -> None:
    assert find_bad_text({"a": f"x{bad}y"}) == ["#/a"]
    assert find_bad_text({f"x{bad}": 1}) == ["#/x%EF%BF%BD"]
    assert find_bad_text({f"x{bad}": {}}) == ["#/x%EF%BF%BD"]
    assert find_bad_text({"a": [1, ["ok", bad]]}) == ["#/a/1/1"]
    assert find_bad_text(bad) == ["#"]


@pytest.mark.parametrize("good", GOOD_CHARACTERS, ids=ascii)
def test_other_characters_are_left_alone(good: str) -> None:
    assert find_bad_text({good: good, "a": [good]}) == []


def test_escaped_bad_text_passes_the_parser_and_is_then_found() -> None:
    value = parse_json(b'{"description": "a\\u0000b", "metadata": {"a/b": "\\ud800", "ok": "\\ud83d\\ude00"}}')
    assert find_bad_text(value) == ["#/description", "#/metadata/a~1b"]


@pytest.mark.parametrize(
    "bad, escaped",
    # Unescaped, the others stand in no well-formed JSON.
    [*((bad, True) for bad in BAD_CHARACTERS), *((bad, False) for bad in ("\x7f", "\x80", "\x9f"))],
    ids=ascii,
)
def test_bad_text_is_suspected_in_the_bytes_however_it_is_written(bad: str, escaped: bool) -> None:
    for value in ({"a": f"x{bad}"}, {f"{bad}x": 1}):
        raw = json.dumps(value, ensure_ascii=escaped).encode()
        assert may_hold_bad_text(raw) and may_hold_bad_text(raw.replace(b"\\ud", b"\\uD"))


@given(st.recursive(st.text(max_size=5), lambda inner: st.dictionaries(st.text(max_size=5), inner)), st.booleans())
def test_bad_text_is_never_missed(value: Any, escaped: bool) -> None:
    raw = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    if find_bad_text(value):
        assert may_hold_bad_text(raw)


@pytest.mark.parametrize("raw", [b'{"a": "b"}\r\n\t', '{"a":"é€😀"}'.encode(), b'{"a":"\\u00e9\\/\\" \\\\ "}'])
def test_the_usual_body_is_not_suspected(raw: bytes) -> None:
    assert parse_json(raw) and not may_hold_bad_text(raw)


def test_a_member_bad_in_name_and_value_is_pointed_to_once() -> None:
    assert find_bad_text({"\x00": "\x00"}) == ["#/%EF%BF%BD"]


def test_the_number_of_pointers_is_bounded() -> None:
    assert len(find_bad_text(["\x00"] * 5_000)) == 100
    assert len(find_bad_text([["\x00"] * 60] * 50, limit=70)) == 70


def test_bad_text_below_any_depth_is_found_without_recursion() -> None:
    value: Any = "\x00"
    for _ in range(50_000):
        value = [value]
    assert find_bad_text(value) == ["#" + "/0" * 50_000]


def test_pointers_are_escaped_uri_fragments() -> None:
    assert pointer() == "#"
    assert pointer("transactions", 3, "amount") == "#/transactions/3/amount"
    assert pointer("metadata", "a/b", "m~n", "~1") == "#/metadata/a~1b/m~0n/~01"
    assert pointer("", " ", "é", 'a"b', "50%", "#") == "#//%20/%C3%A9/a%22b/50%25/%23"


@given(st.text(alphabet=st.characters(codec=None, categories=None)))
def test_every_pointer_is_plain_printable_ascii(name: str) -> None:
    written = pointer(name)
    assert written.isascii() and written.isprintable() and " " not in written


def test_canonical_is_one_spelling() -> None:
    one, other = parse_json(b'{"b": 1e2, "a": "\\u00e9"}'), parse_json('{ "a":"é","b":100.0 }'.encode())
    assert canonical(one) == canonical(other) == '{"a":"é","b":100}'.encode()
    assert canonical({"a": "1"}) != canonical({"a": 1})
    assert canonical({"a": "\ud800"}) != canonical({"a": "?"})
    assert canonical(True) != canonical(1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_whatever_json_writes_is_read_back_equal(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert canonical(parse_json(canonical(parse_json(json.dumps(value).encode())))) == canonical(
        parse_json(json.dumps(value).encode())
    )


@given(JSON)
def test_longer_is_what_has_more_bytes_in_the_one_spelling(value: Any) -> None:
    size = len(canonical(value))
    assert not is_longer(value, size) and is_longer(value, size - 1)


@given(st.binary() | st.text(alphabet='{}[]",:0123eE+-.tfn\\u ', max_size=60).map(str.encode))
def test_any_bytes_give_a_value_or_malformed(raw: bytes) -> None:
    try:
        value = parse_json(raw)
    except MalformedJsonError:
        return
    canonical(value)
    find_bad_text(value)
