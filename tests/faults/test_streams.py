"""Messages are found whole, however the bytes arrive; the places to cut are where they should be."""

import re
import struct

import pytest

from tests.faults import streams
from tests.faults.streams import AmqpUnits, PostgresMessages
from tests.stack import ROOT


def frame(kind, payload, channel=1):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


PUBLISH = frame(1, b"\x00\x3c\x00\x28\x00\x00\x0ctransactions\x13transaction.created\x01")
HEADER = frame(2, b"\x00\x3c\x00\x00" + struct.pack(">Q", 5) + b"\x00\x00")
BODY = frame(3, b"abc") + frame(3, b"de")
HEARTBEAT = frame(8, b"", channel=0)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_publish_is_one_unit_with_its_header_and_bodies(size):
    stream = b"AMQP\x00\x00\x09\x01" + HEARTBEAT + PUBLISH + HEADER + BODY + HEARTBEAT
    parser, units = AmqpUnits(), []
    for at in range(0, len(stream), size):
        units += parser.feed(stream[at : at + size])
    assert units == [stream[:8], HEARTBEAT, PUBLISH + HEADER + BODY, HEARTBEAT]
    assert [streams.publishes_an_event(unit) for unit in units] == [False, False, True, False]
    assert parser.rest() == b""


def test_the_greeting_of_a_probe_is_not_an_event():
    """Were it cut instead, the breaker would stay open and no event be cut at all."""
    empty = frame(2, b"\x00\x3c\x00\x00" + struct.pack(">Q", 0) + b"\x00\x00")
    assert not streams.publishes_an_event(PUBLISH + empty)


def test_every_frame_boundary_is_a_place_to_cut():
    unit = PUBLISH + HEADER + BODY
    places = streams.frame_boundaries(unit)
    first = len(PUBLISH)
    assert {0, 1, first - 1, first, first + 1, len(unit) - 1, len(unit)} <= set(places)
    assert max(places) == len(unit)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_messages_of_postgresql_are_found_after_the_untyped_start(size):
    ssl = struct.pack(">II", 8, 80877103)
    startup = struct.pack(">II", 8 + 9, 196608) + b"user\x00me\x00\x00"
    query = b"Q" + struct.pack(">I", 4 + 7) + b"COMMIT\x00"
    select = b"Q" + struct.pack(">I", 4 + 9) + b"SELECT 1\x00"
    stream = ssl + startup + select + query
    parser, messages = PostgresMessages(), []
    for at in range(0, len(stream), size):
        messages += parser.feed(stream[at : at + size])
    assert messages == [ssl, startup, select, query]
    assert [streams.commits(message) for message in messages] == [False, False, False, True]
    assert streams.every_offset(query) == list(range(13))


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("COMMIT", "COMMIT"),
        ("INSERT INTO x VALUES (1)", "INSERT"),
        ("\n    SELECT transactions_create_v2(\n 1)", "transactions_create"),
        ("SELECT * FROM outbox_claim_v1(500)", "outbox_claim"),
        ("SELECT 1", ""),
        ("WITH x AS (SELECT pg_notify('a', 'b')) SELECT 1", ""),
    ],
)
def test_what_commits_is_known_by_its_statement(statement, kind):
    text = statement.encode() + b"\x00"
    assert streams.commit_kind(b"Q" + struct.pack(">I", 4 + len(text)) + text) == kind


def test_every_function_that_the_product_calls_to_write_is_cut():
    """A statement with another shape would be spared by F27 without a word."""
    calls = [
        (path.name, line)
        for app in ("outbox", "transactions", "webhooks")
        for path in (ROOT / app).glob("*.py")
        for line in re.findall(r"SELECT [^\n\"]*_v\d+\(", path.read_text())
    ]
    assert len(calls) >= 4
    for name, call in calls:
        text = call.encode()
        assert streams.commit_kind(b"Q" + struct.pack(">I", 4 + len(text)) + text), f"{name}: {call}"
