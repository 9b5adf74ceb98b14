"""The queues are what the contract and the Producer say; other arguments would be a 406 at the first connect."""

import kombu
import pytest
from celery.worker.consumer import Consumer

from processing import topology
from reference.worker import StrictConsumer


def test_the_event_queue_has_exactly_the_agreed_arguments() -> None:
    queue = topology.EVENTS
    assert (queue.name, queue.durable, queue.routing_key) == ("consumer.transactions.v1", True, "transaction.#")
    assert (queue.exchange.name, queue.exchange.type, queue.exchange.durable) == ("transactions", "topic", True)
    assert queue.queue_arguments == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": "transactions.dead",
        "x-dead-letter-routing-key": "consumer.transactions.v1.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def test_the_dead_letter_queue_takes_what_is_rejected() -> None:
    dead = topology.DEAD_EVENTS
    assert (dead.name, dead.durable, dead.routing_key) == (dead.name, True, "consumer.transactions.v1.dead")
    assert (dead.exchange.name, dead.exchange.type) == ("transactions.dead", "direct")
    assert dead.queue_arguments == {"x-queue-type": "quorum"}


def test_the_worker_leaves_delayed_delivery_out() -> None:
    steps = StrictConsumer.Blueprint.default_steps
    assert not [step for step in steps if "delayed" in str(step)]


def test_the_worker_declares_both_as_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not in a step of its own: Celery runs steps that do not require each other in any order.
    declared: list[object] = []
    monkeypatch.setattr(Consumer, "connect", lambda self: kombu.Connection("memory://"))
    monkeypatch.setattr(topology, "declare", declared.append)
    StrictConsumer.connect(object.__new__(StrictConsumer))
    assert len(declared) == 1
