"""The second door for results: a Celery task message on the Producer's queue, confirmed and mandatory."""

import os
import socket
import time
from typing import Any
from uuid import uuid4

from amqp.exceptions import AMQPError, MessageNacked
from django.conf import settings
from kombu import Connection, Exchange, Producer
from kombu.exceptions import KombuError

from processing import signing, topology
from reference import env as environment

# Seconds; a broker that hangs must not hold the courier. The worker's own connection has no such limits.
SOCKET_SECONDS = 4
CONFIRM_SECONDS = 5


class QueueDoorError(Exception):
    """The message is not known to be in the queue."""


def send(webhook_id: str, body: str) -> None:
    """Returns when the broker has confirmed that the message is in the queue; raises QueueDoorError otherwise.

    A connection per message: a confirm that comes late on a shared one would be taken for that of the next message.
    """
    headers = signing.sign(settings.RESULT_SIGNING_KEYS, webhook_id, int(time.time()), body.encode())
    returned: list[str] = []
    try:
        with _connect() as connection:
            # Each node of the broker once: the next round is the caller's.
            connection.ensure_connection(max_retries=max(0, len(connection.alt) - 1))
            channel = connection.channel()
            # Called before the confirm, which a broker gives for an unroutable message too.
            producer = Producer(
                channel,
                exchange=Exchange(""),
                routing_key=topology.RESULTS_QUEUE_NAME,
                serializer="json",
                auto_declare=False,
                on_return=lambda *_: returned.append("unroutable"),
            )
            producer.publish(
                **_task_message(webhook_id, headers, body), mandatory=True, confirm_timeout=CONFIRM_SECONDS
            )
    except (KombuError, AMQPError, MessageNacked, OSError) as error:
        raise QueueDoorError(type(error).__name__) from error
    if returned:
        raise QueueDoorError(f"no queue {topology.RESULTS_QUEUE_NAME}")


def _connect() -> Connection:
    url, options = environment.broker(settings.BROKER_URL)
    if url.startswith("amqp"):
        options = {
            "confirm_publish": True,
            "read_timeout": SOCKET_SECONDS,
            "write_timeout": SOCKET_SECONDS,
            "client_properties": {"connection_name": f"consumer-results@{socket.gethostname()}-{os.getpid()}"},
        }
    transport = environment.FILESYSTEM_TRANSPORT if url.startswith("filesystem") else None
    return Connection(url, transport=transport, connect_timeout=SOCKET_SECONDS, transport_options=options)


def _task_message(webhook_id: str, headers: dict[str, str], body: str) -> dict[str, Any]:
    """Celery's message protocol 2, by hand: the Consumer knows the task by name only."""
    task_id = str(uuid4())
    return {
        "body": [
            [],
            {"headers": headers, "body": body},
            {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
        ],
        "headers": {
            "lang": "py",
            "task": topology.RESULTS_TASK_NAME,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
        },
        "correlation_id": task_id,
        "message_id": webhook_id,
        "delivery_mode": 2,
        "retry": False,
    }
