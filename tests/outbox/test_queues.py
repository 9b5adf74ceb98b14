"""The watch over the queues at a real broker: what it sees, and that a missing queue is there again."""

import pytest
from amqp.basic_message import Message

from outbox import topology
from outbox.queues import QueueWatch
from outbox.stats import states
from tests.stack import wait_for

pytestmark = [pytest.mark.django_db, pytest.mark.rabbitmq]


def test_a_deleted_queue_is_declared_anew_and_noted(amqp_routes):
    name = amqp_routes["transactions"]["queue"]
    with topology.connect() as connection:
        topology.declare(connection)
        watch = QueueWatch()
        assert watch.look() == 0
        before = {queue.name: queue for queue in states().queues}[name]
        assert (before.messages, before.consumers, before.remade_seconds) == (0, 0, None)
        connection.channel().queue_delete(name)
        assert watch.look() == 1
        assert {queue.name: queue for queue in states().queues}[name].remade_seconds is not None
        assert watch.look() == 0, "it is there again, on the same connection"
        assert {queue.name: queue for queue in states().queues}[name].remade_seconds is not None, "and not forgotten"
        watch.close()


def test_a_deleted_binding_is_there_again_although_another_queue_took_its_events(amqp_routes):
    route = amqp_routes["transactions"]
    with topology.connect() as connection, connection.channel() as channel:
        topology.declare(connection)
        others = channel.queue_declare("", exclusive=True).queue
        channel.queue_bind(others, route["exchange"], "#")
        watch = QueueWatch()
        watch.look()
        channel.queue_unbind(route["queue"], route["exchange"], route["binding_key"])
        watch.look()
        channel.basic_publish(Message("x"), route["exchange"], route["binding_key"].replace("#", "created"))
        wait_for(lambda: channel.queue_declare(route["queue"], passive=True).message_count, 10, "the event is there")
        watch.close()


def test_a_user_who_may_not_declare_is_refused_once_and_sees_all_the_same(amqp_routes, monkeypatch):
    name, refused = amqp_routes["transactions"]["queue"], []
    with topology.connect() as connection:
        topology.declare(connection)
    monkeypatch.setattr(topology, "declare_if_allowed", lambda _: refused.append(1))
    watch = QueueWatch()
    for _ in range(3):
        assert watch.look() == 0
    watch.close()
    assert len(refused) == 1 and name in {queue.name for queue in states().queues}
