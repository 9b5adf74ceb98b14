"""Exchanges and queues as data. The Producer declares the same: other arguments here and RabbitMQ answers 406."""

from kombu import Exchange, Queue
from kombu.transport.base import StdChannel

TRANSACTIONS = Exchange("transactions", type="topic", durable=True)
DEAD = Exchange("transactions.dead", type="direct", durable=True)

DEAD_EVENTS = Queue(
    "consumer.transactions.v1.dead",
    exchange=DEAD,
    routing_key="consumer.transactions.v1.dead",
    durable=True,
    queue_arguments={"x-queue-type": "quorum"},
)
EVENTS = Queue(
    "consumer.transactions.v1",
    exchange=TRANSACTIONS,
    routing_key="transaction.#",
    durable=True,
    queue_arguments={
        "x-queue-type": "quorum",
        # Redeliveries before a message that kills its worker is dead-lettered; without it, it would loop for ever.
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": DEAD.name,
        "x-dead-letter-routing-key": DEAD_EVENTS.routing_key,
        # At-least-once keeps the message until the dead-letter queue has it; it requires reject-publish.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    },
)
# The second door for results. The Producer declares it; we only publish, by the default exchange.
RESULTS_QUEUE_NAME = "producer.results.v1"
RESULTS_TASK_NAME = "results.receive"


def declare(channel: StdChannel) -> None:
    """Declares the dead-letter side first, so that nothing can be rejected into the void."""
    for queue in (DEAD_EVENTS, EVENTS):
        queue.bind(channel).declare()
