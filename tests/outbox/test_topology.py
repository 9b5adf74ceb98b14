"""Exchanges and queues, as data and at the broker."""

import kombu
import pytest
from amqp.exceptions import NotFound, PreconditionFailed

from outbox import topology

ROUTES = {"t": {"exchange": "ex", "queue": "q.v1", "binding_key": "t.#", "wire_format": "celery", "task": "x"}}


def test_a_route_is_a_quorum_queue_bound_to_a_topic_exchange_with_a_dead_letter_queue():
    dead, queue = topology.route_queues(ROUTES)
    assert (queue.name, queue.routing_key, queue.exchange.name, queue.exchange.type) == ("q.v1", "t.#", "ex", "topic")
    assert queue.queue_arguments == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": "ex.dead",
        "x-dead-letter-routing-key": "q.v1.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    assert (dead.name, dead.exchange.name, dead.routing_key) == ("q.v1.dead", "ex.dead", "q.v1.dead")
    assert dead.queue_arguments == {"x-queue-type": "quorum"}


def test_every_queue_is_durable_quorum_and_limits_redelivery_by_a_positive_number():
    for queue in topology.all_queues():
        assert queue.durable
        assert queue.queue_arguments["x-queue-type"] == "quorum"
        assert queue.queue_arguments.get("x-delivery-limit", 1) > 0
    assert len({queue.name for queue in topology.all_queues()}) == len(topology.all_queues())


def test_every_dead_letter_address_has_a_queue():
    queues = topology.all_queues()
    bound = {(queue.exchange.name, queue.routing_key) for queue in queues}
    wanted = {
        (queue.queue_arguments["x-dead-letter-exchange"], queue.queue_arguments["x-dead-letter-routing-key"])
        for queue in queues
        if "x-dead-letter-exchange" in queue.queue_arguments
    }
    assert wanted
    assert wanted <= bound


def test_the_first_worker_queue_carries_wake_ups_that_expire_and_the_others_lose_nothing():
    wake_ups, results = topology.worker_queues(["tasks", "results"])
    assert wake_ups.queue_arguments["x-message-ttl"] == topology.WAKE_UP_TTL_MS
    assert "x-message-ttl" not in results.queue_arguments
    assert results.queue_arguments["x-overflow"] == "reject-publish"


def test_a_broker_that_is_away_only_costs_a_log_line(monkeypatch):
    def away(*args, **options):
        raise ConnectionRefusedError

    monkeypatch.setattr(topology, "connect", away)
    assert topology.declare_quietly() is False


@pytest.fixture
def broker(settings, amqp_routes):
    with topology.connect() as connection:
        yield connection


@pytest.mark.rabbitmq
def test_declaring_twice_is_declaring_once(broker, amqp_routes):
    assert topology.declare(broker) == topology.declare(broker)
    assert amqp_routes["transactions"]["queue"] in topology.declare(broker)


@pytest.mark.rabbitmq
def test_the_real_queue_is_quorum_and_durable(broker, amqp_routes):
    topology.declare(broker)
    name = amqp_routes["transactions"]["queue"]
    with broker.channel() as channel:
        assert channel.queue_declare(name, passive=True).queue == name
    arguments = topology.durable_arguments(name, f"{amqp_routes['transactions']['exchange']}.dead")
    for changed in ({"x-queue-type": "classic"}, {"x-delivery-limit": 19}):
        # The broker refuses whatever differs from what is there.
        with pytest.raises(PreconditionFailed), broker.channel() as channel:
            kombu.Queue(name, durable=True, channel=channel, queue_arguments=arguments | changed).queue_declare()
    with broker.channel() as channel:
        kombu.Queue(name, durable=True, channel=channel, queue_arguments=arguments).queue_declare()


@pytest.mark.rabbitmq
def test_before_it_is_declared_there_is_no_queue(broker, amqp_routes):
    with pytest.raises(NotFound), broker.channel() as channel:
        channel.queue_declare(amqp_routes["transactions"]["queue"], passive=True)
