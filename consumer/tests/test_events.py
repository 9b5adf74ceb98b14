"""What is an event of the contract, and what is not."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.events import BadEventError, decode, parse
from tests.conftest import make_event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def changed(path: str, value: Any) -> dict[str, Any]:
    event = copy.deepcopy(make_event())
    *parents, name = path.split(".")
    target = event
    for parent in parents:
        target = target[parent]
    if value is ...:
        del target[name]
    else:
        target[name] = value
    return event


def test_an_event_of_the_contract_is_read() -> None:
    event = make_event(version=7, amount="999999999999999.999", currency="KWD")
    parsed = parse(event)
    assert (parsed.id, parsed.transaction_id, parsed.sequence) == (event["id"], event["subject"], 7)
    assert parsed.txn is not None
    assert parsed.txn.amount == "999999999999999.999"


def test_unknown_members_are_ignored() -> None:
    assert parse({**make_event(), "traceparent": "00-x", "novelty": [1]}).sequence == 1


def test_a_cancellation_needs_no_readable_transaction() -> None:
    event = make_event("transaction.canceled", version=2, amount="???")
    assert parse(event).txn is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("specversion", "0.3"),
        ("id", ...),
        ("id", ""),
        ("id", 5),
        ("id", "a.b"),
        ("id", "x" * 256),
        ("type", "transaction.exploded"),
        ("type", ["transaction.created"]),
        ("subject", "not-a-uuid"),
        ("subject", "00000000-0000-0000-0000-000000000000"),
        ("sequence", ...),
        ("sequence", 1),
        ("sequence", "0" * 20),
        ("sequence", "-1"),
        ("sequence", "00000000000000000002"),
        ("data", None),
        ("data", []),
        ("data.transaction", "x"),
        ("data.transaction.id", 7),
        ("data.transaction.version", True),
        ("data.transaction.version", "1"),
        ("data.transaction.amount", 125.5),
        ("data.transaction.amount", "1e3"),
        ("data.transaction.amount", "-1"),
        ("data.transaction.amount", "0.00"),
        ("data.transaction.amount", "٣"),
        ("data.transaction.amount", "1.5\n"),
        ("data.transaction.currency", "eur"),
        ("data.transaction.direction", "sideways"),
        ("data.transaction.direction", ["debit"]),
        ("data.transaction.account_number", ""),
        ("data.transaction.account_number", "1" * 65),
        ("data.transaction.description", 5),
    ],
)
def test_what_the_contract_does_not_allow_is_a_bad_event(path: str, value: Any) -> None:
    with pytest.raises(BadEventError):
        parse(changed(path, value))


def test_the_reason_never_holds_a_value() -> None:
    with pytest.raises(BadEventError) as caught:
        parse(changed("data.transaction.account_number", "5088005001948" * 10))
    assert "50880050" not in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b"NaN", b'{"a": Infinity}', b"[" * 100_000, b"9" * 5000, b"\xef\xbb\xbf{}"]
)
def test_what_is_not_json_is_a_bad_event(raw: bytes) -> None:
    with pytest.raises(BadEventError):
        decode(raw)


@given(
    JSON, st.sampled_from(["id", "type", "subject", "sequence", "data", "data.transaction", "data.transaction.amount"])
)
def test_no_value_anywhere_raises_anything_else(value: Any, path: str) -> None:
    for candidate in (value, changed(path, value)):
        try:
            parse(candidate)
        except BadEventError:
            continue


def test_what_the_event_is_part_of_is_taken_only_when_it_is_well_formed():
    good = {
        "correlationid": "0d0a7c1e-1111-4222-8333-444455556666",
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    }
    parsed = parse({**make_event(), **good})
    assert (parsed.request_id, parsed.traceparent) == tuple(good.values())
    for bad in ("", "x", 7, None, {}, good["correlationid"] + "\n"):
        parsed = parse({**make_event(), "correlationid": bad, "traceparent": bad})
        assert (parsed.request_id, parsed.traceparent) == ("", "")
