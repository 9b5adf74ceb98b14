"""The watch over the queues at a real broker: what it sees, and that a missing queue is there again."""

import pytest

from outbox import topology
from outbox.queues import QueueWatch
from outbox.stats import states

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
