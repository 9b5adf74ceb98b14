"""The real channel, on a real broker."""

import json
import socket
import time

import pytest

from outbox import amqp, topology
from outbox.amqp import AmqpPublisher
from tests.publisher_conformance import RoutedConformance, ids, make_event, send

pytestmark = pytest.mark.rabbitmq


class AmqpChannel:
    def __init__(self, routes):
        self.routes, self.route = routes, routes["transactions"]
        self.publisher = AmqpPublisher()
        self.url = self.publisher._url

    def do(self, verb):
        with topology.connect() as connection, connection.channel() as channel:
            return verb(channel)

    def messages(self):
        def get(channel):
            found = []
            while (message := channel.basic_get(self.route["queue"], no_ack=True)) is not None:
                found.append(message)
            return found

        return self.do(get)

    def depth(self):
        return self.do(lambda channel: channel.queue_declare(self.route["queue"], passive=True).message_count)

    def received(self):
        return [json.loads(message.body)[1]["event"] for message in self.messages()]

    def take_away(self):
        self.publisher.close()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.publisher._url = f"amqp://guest:guest@127.0.0.1:{port}//"

    def bring_back(self):
        self.publisher._url = self.url

    def cut(self):
        """What a broker that closes, or a network that breaks, does to the connection."""
        self.publisher._channel.connection.transport.sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def channel(amqp_routes):
    channel = AmqpChannel(amqp_routes)
    send(channel, [])
    yield channel
    channel.publisher.close()


class TestAmqp(RoutedConformance):
    @pytest.fixture
    def channel(self, channel):
        return channel


def test_confirmed_is_in_the_queue_persistent_and_complete(channel):
    event = make_event("k-1", 7)
    assert send(channel, [event]).confirmed == {event.id}
    (message,) = channel.messages()
    properties = message.properties
    assert (properties["delivery_mode"], properties["message_id"]) == (2, str(event.id))
    assert (properties["content_type"], properties["content_encoding"]) == ("application/json", "utf-8")
    assert properties["type"] == message.delivery_info["routing_key"] == "transaction.created"
    headers = properties["application_headers"]
    assert headers["task"] == "consumer.process_transaction"
    assert headers["cloudEvents_subject"] == "k-1"


def test_a_batch_larger_than_any_buffer_arrives_whole(channel):
    events = [make_event(f"k{number}", text="x" * 30_000) for number in range(200)]
    assert send(channel, events, seconds=30).confirmed == ids(events)
    assert len(channel.received()) == 200


def test_a_queue_deleted_at_run_time_heals_within_the_batch_and_keeps_the_order(channel):
    first, second = make_event("a", 1), make_event("a", 2)
    assert send(channel, [first]).confirmed
    channel.do(lambda raw: raw.queue_delete(channel.route["queue"]))
    outcome = send(channel, [second, make_event("a", 3)])
    assert (len(outcome.confirmed), outcome.refused, outcome.trouble) == (2, {}, None)
    assert [int(event["sequence"]) for event in channel.received()] == [2, 3]


def test_an_exchange_deleted_at_run_time_is_trouble_and_heals_with_the_next_batch(channel):
    channel.do(lambda raw: raw.exchange_delete(channel.route["exchange"]))
    event = make_event()
    outcome = send(channel, [event])
    assert (outcome.confirmed, outcome.refused) == (set(), {})
    assert "404" in outcome.trouble.reason
    assert send(channel, [event]).confirmed == {event.id}


def test_a_full_queue_refuses_without_blame_and_when_nothing_gets_in_it_is_trouble(amqp_routes, monkeypatch):
    arguments = topology.durable_arguments

    def short(queue, dead):
        return arguments(queue, dead) | ({"x-max-length": 5} if queue.startswith("test.") else {})

    monkeypatch.setattr(topology, "durable_arguments", short)
    channel = AmqpChannel(amqp_routes)
    confirmed, nacked, trouble = set(), {}, None
    for _ in range(40):
        outcome = send(channel, [make_event(f"k{number}") for number in range(20)])
        confirmed |= outcome.confirmed
        nacked |= outcome.refused
        trouble = outcome.trouble
        if trouble:
            break
    assert trouble is not None
    assert "full" in trouble.reason
    assert nacked
    assert all(refusal.blameless for refusal in nacked.values())
    assert {event["id"] for event in channel.received()} == {str(event_id) for event_id in confirmed}
    channel.publisher.close()


def test_a_connection_cut_while_idle_is_replaced_without_trouble(channel):
    channel.cut()
    event = make_event()
    outcome = send(channel, [event])
    assert (outcome.confirmed, outcome.trouble) == ({event.id}, None)


def test_a_connection_cut_in_the_middle_confirms_nothing_unclear_and_is_thrown_away(channel, monkeypatch):
    write = AmqpPublisher._write

    def cut_after_the_write(self, buffer, deadline):
        self._channel.connection.transport.write(buffer)
        channel.cut()

    monkeypatch.setattr(AmqpPublisher, "_write", cut_after_the_write)
    old, events = channel.publisher._channel, [make_event("a", 1), make_event("a", 2)]
    outcome = send(channel, events)
    assert outcome.trouble is not None
    assert (outcome.confirmed, outcome.refused) == (set(), {})
    assert channel.publisher._channel is None
    monkeypatch.setattr(AmqpPublisher, "_write", write)
    assert send(channel, events).confirmed == ids(events)
    assert channel.publisher._channel is not old


def test_no_confirm_within_the_deadline_throws_the_connection_away(channel, monkeypatch):
    monkeypatch.setattr(AmqpPublisher, "_drain", lambda self, seconds: None)
    outcome = send(channel, [make_event()], seconds=0.2)
    assert "no confirm" in outcome.trouble.reason
    assert not outcome.confirmed
    assert channel.publisher._channel is None


def test_a_blocked_connection_is_trouble_that_names_the_alarm(channel, monkeypatch):
    monkeypatch.setattr(AmqpPublisher, "_drain", lambda self, seconds: self._on_blocked("low on memory"))
    channel.publisher._used_at = started = time.monotonic()
    outcome = send(channel, [make_event()], seconds=5)
    assert time.monotonic() - started < 4, "an alarm is known at once and not at the deadline"
    assert "low on memory" in outcome.trouble.reason
    assert not outcome.confirmed


def test_an_event_that_amqp_cannot_carry_is_refused_alone_and_stops_its_key(channel):
    bad, behind, other = make_event("a", 1, event_type="é" * 200), make_event("a", 2), make_event("b", 1)
    outcome = send(channel, [bad, behind, other])
    assert outcome.trouble is None
    assert (outcome.confirmed, set(outcome.refused)) == ({other.id}, {bad.id})


def test_a_heartbeat_does_not_stall_the_next_batch(channel):
    raw = channel.publisher._channel.connection
    heartbeat = b"\x08\x00\x00\x00\x00\x00\x00\xce"
    raw.transport._read_buffer = heartbeat
    started = time.monotonic()
    assert send(channel, [make_event()]).trouble is None
    assert time.monotonic() - started < 3
    assert channel.publisher._channel.connection is raw


def test_a_connection_that_was_idle_for_long_is_not_trusted(channel):
    old = channel.publisher._channel
    channel.publisher._used_at -= amqp.IDLE_SECONDS + 1
    assert send(channel, [make_event()]).confirmed
    assert channel.publisher._channel is not old


def test_an_address_with_a_password_is_not_in_the_reason(channel):
    channel.take_away()
    channel.publisher._url = channel.publisher._url.replace("guest:guest", "guest:s3cret")
    assert "s3cret" not in send(channel, [make_event()]).trouble.reason


def test_a_node_that_is_away_only_sends_the_relay_to_the_next(channel):
    live = channel.url
    channel.take_away()
    channel.publisher._url = f"{channel.publisher._url};{live}"
    events = [make_event()]
    assert send(channel, events).confirmed == ids(events)


def test_after_trouble_another_node_is_tried_first(channel):
    channel.take_away()
    away = channel.publisher._url
    # As a node that accepts connections and then does not work: every try of it costs the publish timeout.
    channel.publisher._url = f"{away};{away}2"
    assert send(channel, [make_event()]).trouble
    assert channel.publisher._url == f"{away}2;{away}"
