"""What the relay relies on in every channel. A channel's test class inherits it and provides `channel`.

    class TestMine(PublisherConformance):
        @pytest.fixture
        def channel(self): ...an object with `publisher`, `routes`, `received()`, `take_away()` and `bring_back()`

`received()` gives what has arrived so far, as CloudEvents in order of arrival.
"""

import json
import time
from datetime import UTC, datetime

from outbox.envelope import StoredEvent, as_json, head
from outbox.ids import time_of, uuid7


def cloud_event(*, data, **attributes):
    """As `enqueue` puts it together; the attributes are those of `head`."""
    return f"{head(**attributes)}{as_json(data)}}}"


def make_event(key="a", sequence=1, *, topic="transactions", event_type="transaction.created", **data):
    event_id = uuid7()
    body = cloud_event(
        event_id=event_id,
        source="urn:producer",
        event_type=event_type,
        key=key,
        sequence=sequence,
        time=time_of(event_id),
        traceparent=None,
        data=data,
    )
    return StoredEvent(event_id, topic, event_type, key, sequence, body, 1, datetime.now(UTC))


def send(channel, events, seconds=5.0):
    return channel.publisher.publish(events, channel.routes, time.monotonic() + seconds)


def ids(events):
    return {event.id for event in events}


class PublisherConformance:
    """Claims about any channel."""

    def test_it_has_a_name_and_is_available(self, channel):
        assert channel.publisher.name in {"broker", "webhook"}
        assert channel.publisher.available()

    def test_no_events_are_no_trouble(self, channel):
        outcome = send(channel, [])
        assert (outcome.confirmed, outcome.refused, outcome.trouble) == (set(), {}, None)
        assert channel.received() == []

    def test_what_is_confirmed_has_arrived_as_it_was_stored(self, channel):
        events = [make_event(f"k{number}", text="Zürich 😀") for number in range(30)]
        outcome = send(channel, events)
        assert (outcome.confirmed, outcome.refused, outcome.trouble) == (ids(events), {}, None)
        arrived = sorted(channel.received(), key=lambda event: event["id"])
        assert arrived == sorted([json.loads(event.body) for event in events], key=lambda event: event["id"])

    def test_events_of_one_key_arrive_in_order(self, channel):
        events = [make_event("a", number) for number in range(1, 40)]
        assert send(channel, events).confirmed == ids(events)
        assert [event["id"] for event in channel.received()] == [str(event.id) for event in events]

    def test_the_next_batch_goes_the_same_way(self, channel):
        for number in range(3):
            events = [make_event("a", number)]
            assert send(channel, events).confirmed == ids(events)
        assert [int(event["sequence"]) for event in channel.received()] == [0, 1, 2]

    def test_a_deadline_that_has_passed_raises_nothing_and_confirms_nothing(self, channel):
        outcome = send(channel, [make_event()], seconds=-1)
        assert not outcome.confirmed
        assert not outcome.refused

    def test_a_channel_that_is_away_is_trouble_of_the_channel_and_of_no_event(self, channel):
        channel.take_away()
        outcome = send(channel, [make_event("a"), make_event("b")])
        assert outcome.trouble is not None
        assert outcome.trouble.reason
        assert (outcome.confirmed, outcome.refused) == (set(), {})

    def test_a_channel_that_is_back_is_used_again(self, channel):
        channel.take_away()
        event = make_event()
        assert send(channel, [event]).trouble is not None
        channel.bring_back()
        assert send(channel, [event]).confirmed == {event.id}
        assert [found["id"] for found in channel.received()] == [str(event.id)]

    def test_after_close_it_opens_again(self, channel):
        send(channel, [make_event("a")])
        channel.publisher.close()
        channel.publisher.close()
        event = make_event("b")
        assert send(channel, [event]).confirmed == {event.id}


class RoutedConformance(PublisherConformance):
    """Claims about channels that look at the route."""

    def test_an_event_without_a_route_is_refused_alone_with_its_key(self, channel):
        lost, behind, other = make_event("a", 1, topic="nobody"), make_event("a", 2), make_event("b", 1)
        outcome = send(channel, [lost, behind, other])
        assert outcome.trouble is None
        assert set(outcome.refused) == {lost.id}
        assert outcome.confirmed == {other.id}
        assert not outcome.refused[lost.id].blameless
        assert [event["subject"] for event in channel.received()] == ["b"]

    def test_an_event_that_no_queue_takes_is_refused_and_never_confirmed(self, channel):
        lost, other = make_event("a", event_type="nobody.listens"), make_event("b")
        outcome = send(channel, [lost, other])
        assert outcome.trouble is None
        assert (outcome.confirmed, set(outcome.refused)) == ({other.id}, {lost.id})
        assert "NO_ROUTE" in outcome.refused[lost.id].reason
