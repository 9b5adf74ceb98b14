"""What goes on the wire, to the byte."""

import json
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.envelope import StoredEvent, rfc3339, wrap
from tests.publisher_conformance import cloud_event

EVENT_ID = uuid.UUID("019a0000-0000-7000-8000-000000000001")
ROUTE = {"exchange": "transactions", "queue": "q", "wire_format": "celery", "task": "consumer.process_transaction"}
GOLDEN = (
    '{"specversion":"1.0","id":"019a0000-0000-7000-8000-000000000001","source":"urn:producer","type":"transaction.created",'
    '"subject":"k-1","time":"2025-10-20T01:15:25.491200Z","datacontenttype":"application/json",'
    '"sequence":"00000000000000000007","partitionkey":"k-1","data":{"text":"Zürich 😀"}}'
)


def body(**changes):
    arguments = {
        "event_id": EVENT_ID,
        "source": "urn:producer",
        "event_type": "transaction.created",
        "key": "k-1",
        "sequence": 7,
        "time": datetime(2025, 10, 20, 1, 15, 25, 491200, UTC),
        "traceparent": None,
        "data": {"text": "Zürich 😀"},
    }
    return cloud_event(**arguments | changes)


@pytest.fixture
def event():
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return StoredEvent(EVENT_ID, "transactions", "transaction.created", "k-1", 7, body(), 3, moment)


def test_the_cloud_event_is_these_bytes():
    assert body() == GOLDEN


@given(st.text(), st.text(), st.none() | st.text(min_size=1), st.none() | st.text(min_size=1))
def test_it_is_written_as_the_encoder_would_whatever_is_in_it(key, source, traceparent, correlation_id):
    written = body(key=key, source=source, traceparent=traceparent, correlation_id=correlation_id)
    assert json.dumps(json.loads(written), ensure_ascii=False, separators=(",", ":")) == written
    read = json.loads(written)
    assert (read["subject"], read["partitionkey"], read["source"]) == (key, key, source)
    assert (read.get("traceparent"), read.get("correlationid")) == (traceparent, correlation_id)


def test_traceparent_stands_before_the_data_if_there_is_one():
    assert '"traceparent":"00-x","data":' in body(traceparent="00-x")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_refused(number):
    with pytest.raises(ValueError):
        body(data={"x": number})


def test_sequences_sort_as_strings():
    assert json.loads(body(sequence=9))["sequence"] < json.loads(body(sequence=10))["sequence"]


def test_celery_gets_the_protocol_2_triple_with_the_same_bytes_inside(event):
    message = wrap(event, ROUTE, "urn:producer")
    args, kwargs, embed = json.loads(message.body)
    assert (args, kwargs) == ([], {"event": json.loads(GOLDEN)})
    assert embed == {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert GOLDEN.encode() in message.body
    assert message.content_type == "application/json"
    assert message.headers["task"] == "consumer.process_transaction"
    assert message.headers["id"] == message.headers["root_id"] == str(EVENT_ID)


def test_cloudevents_is_the_json_alone(event):
    message = wrap(event, {**ROUTE, "wire_format": "cloudevents"}, "urn:producer")
    assert (message.body, message.content_type) == (GOLDEN.encode(), "application/cloudevents+json")
    assert "task" not in message.headers


@pytest.mark.parametrize("wire_format", ["celery", "cloudevents"])
def test_both_formats_carry_scalar_headers_that_agree_with_the_body(event, wire_format):
    headers = wrap(event, {**ROUTE, "wire_format": wire_format}, "urn:producer").headers
    inside = json.loads(GOLDEN)
    for name in ("id", "source", "type", "specversion", "subject"):
        assert headers[f"cloudEvents_{name}"] == inside[name]
    assert all(value is None or type(value) in {str, int} for value in headers.values())
    assert headers["cloudEvents_time"].endswith("Z")


def test_the_time_header_is_the_time_in_an_event_made_by_enqueue(db):
    from outbox.claim import claim
    from outbox.services import Event, enqueue

    enqueue([Event("transactions", "transaction.created", "k", 1, {})])
    (event,) = claim(limit=1, lease_seconds=30, relay="me").events
    assert wrap(event, ROUTE, "s").headers["cloudEvents_time"] == json.loads(event.body)["time"]


def test_every_attempt_has_the_same_bytes(event):

    again = event._replace(attempts=event.attempts + 1)
    assert wrap(event, ROUTE, "s") == wrap(again, ROUTE, "s")
    assert wrap(event, ROUTE | {"wire_format": "cloudevents"}, "s").body == GOLDEN.encode()


def test_the_place_is_the_exchange_and_the_type(event):
    message = wrap(event, ROUTE, "s")
    assert (message.exchange, message.routing_key, message.id) == ("transactions", "transaction.created", EVENT_ID)


def test_times_are_utc_with_z_and_microseconds():
    from datetime import timedelta, timezone

    moment = datetime(2026, 1, 1, 1, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(moment) == "2025-12-31T23:00:00.000005Z"
