"""Exchanges, queues and dead-letter queues, as data, declared once by whoever starts first."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import kombu
from amqp.exceptions import AccessRefused
from django.conf import settings

log = logging.getLogger(__name__)

# What the Producer's own workers read: wake-ups and ticks, and results by the second door.
TASK_QUEUE, RESULT_QUEUE = "producer.tasks.v1", "producer.results.v1"
EMBEDDED_TRANSPORT = "outbox.filesystem:Transport"
# A message that was handed back this often goes to the dead-letter queue. Never -1: RabbitMQ 3.10 then drops it at once.
DELIVERY_LIMIT = 20
# Wake-ups are worth nothing after this (milliseconds); the truth they point at is in the database.
WAKE_UP_TTL_MS = 30_000


def durable_arguments(queue: str, dead_exchange: str) -> dict[str, Any]:
    """Arguments of a queue that must lose nothing: quorum, delivery limit, at-least-once dead-lettering."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": dead_exchange,
        "x-dead-letter-routing-key": f"{queue}.dead",
        # At-least-once needs reject-publish: a full queue then nacks the publisher and drops nothing.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _dead_queue(queue: str, dead_exchange: str) -> kombu.Queue:
    return kombu.Queue(
        f"{queue}.dead",
        kombu.Exchange(dead_exchange, type="direct", durable=True),
        routing_key=f"{queue}.dead",
        durable=True,
        queue_arguments={"x-queue-type": "quorum"},
    )


def route_queues(routes: Mapping[str, Mapping[str, str]]) -> list[kombu.Queue]:
    """For each route: its queue, bound to its topic exchange, and the queue's dead-letter queue."""
    queues = []
    for route in routes.values():
        dead = f"{route['exchange']}.dead"
        queues.append(_dead_queue(route["queue"], dead))
        queues.append(
            kombu.Queue(
                route["queue"],
                kombu.Exchange(route["exchange"], type="topic", durable=True),
                routing_key=route["binding_key"],
                durable=True,
                queue_arguments=durable_arguments(route["queue"], dead),
            )
        )
    return queues


def worker_queues(names: Iterable[str]) -> list[kombu.Queue]:
    """The queues that the Producer's own workers read: the first carries wake-ups only, the others must lose nothing."""
    wake_ups, *durable = names
    queues = [
        kombu.Queue(
            wake_ups,
            kombu.Exchange("", type="direct"),
            routing_key=wake_ups,
            durable=True,
            queue_arguments={
                "x-queue-type": "quorum",
                "x-delivery-limit": DELIVERY_LIMIT,
                "x-message-ttl": WAKE_UP_TTL_MS,
            },
        )
    ]
    for name in durable:
        queues.append(
            kombu.Queue(
                name,
                kombu.Exchange("", type="direct"),
                routing_key=name,
                durable=True,
                queue_arguments=durable_arguments(name, "producer.dead"),
            )
        )
    return queues


def all_queues(worker: Iterable[str] = (TASK_QUEUE, RESULT_QUEUE)) -> list[kombu.Queue]:
    """Everything that must exist before the first message."""
    names = list(worker)
    return [
        *route_queues(settings.OUTBOX_ROUTES),
        *(_dead_queue(name, "producer.dead") for name in names[1:]),
        *worker_queues(names),
    ]


def queues_at(broker_url: str) -> list[kombu.Queue]:
    """Those that belong there: all of them, or with a TASKS_BROKER_URL of its own the wake-ups there and the rest here."""
    if settings.TASKS_BROKER_URL == settings.BROKER_URL:
        return all_queues()
    on_tasks = broker_url == settings.TASKS_BROKER_URL
    return [queue for queue in all_queues() if (queue.name == TASK_QUEUE) == on_tasks]


def declare(connection: Any, queues: Iterable[kombu.Queue] | None = None) -> list[str]:
    """Declares the queues (those at BROKER_URL) with their exchanges and bindings; idempotent. Returns their names.

    Raises what kombu raises: a queue that exists with other arguments is a 406 and needs an operator.
    """
    wanted = list(queues_at(settings.BROKER_URL) if queues is None else queues)
    with connection.channel() as channel:
        for queue in wanted:
            queue(channel).declare()
    return [queue.name for queue in wanted]


def declare_if_allowed(connection: Any, queues: Iterable[kombu.Queue] | None = None) -> bool:
    """False for a user who may not: then an operator has declared it (ops/rabbitmq), and what is missing will show."""
    try:
        declare(connection, queues)
    except AccessRefused:
        return False
    return True


def open_any(connection: kombu.Connection) -> None:
    """Opens it at the first of its addresses that answers: one try at each, since kombu sleeps after a round of them."""
    connection.ensure_connection(max_retries=max(0, len(connection.alt) - 1))


def declare_quietly() -> bool:
    """Declares at process start; a broker that is away only costs a log line, since the relay declares again."""
    try:
        with connect() as connection:
            open_any(connection)
            declare_if_allowed(connection)
    except Exception as error:
        log.warning("topology not declared", extra={"reason": repr(error)})
        return False
    return True


def connect(broker_url: str | None = None, **transport_options: Any) -> kombu.Connection:
    """A connection of our own (not Celery's), with deadlines on every read and write.

    BROKER_URL may be several, separated by `;`: the nodes of a cluster, each as good as the others.
    """
    if broker_url is None and settings.BROKER_TRANSPORT_URL.startswith("filesystem"):
        return kombu.Connection(
            settings.BROKER_TRANSPORT_URL,
            transport=EMBEDDED_TRANSPORT,
            transport_options=settings.BROKER_TRANSPORT_OPTIONS,
        )
    return kombu.Connection(
        broker_url or settings.BROKER_URL,
        connect_timeout=3,
        heartbeat=60,
        transport_options={"read_timeout": 5, "write_timeout": 5, **transport_options},
    )
