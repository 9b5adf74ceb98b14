"""A Celery consumer that survives whatever lands in a queue: unreadable messages are dead-lettered, never fatal.

Celery's own acknowledges what it cannot decode (lost), and a task header over a body that is not its triple ends the worker.
"""

import logging
from typing import Any

from celery.worker.consumer import Consumer
from django.conf import settings

from outbox import topology

log = logging.getLogger(__name__)

# Of a message's headers, those that workers need, and only as text. Whatever else stands there is for Celery, and from
# whoever can write to the queue.
KEPT = frozenset(
    {"lang", "task", "id", "root_id", "parent_id", "origin", "argsrepr", "kwargsrepr", "periodic_task_name"}
)
# Ticks and wake-ups are worth nothing after a while; a result is whenever it comes.
EXPIRING = topology.TASK_QUEUE
# As many characters as a row of a task's result has for it.
MAX_ID = 255


class StrictConsumer(Consumer):
    """The consumer of the Producer's workers."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc, valid-type]
        """Without delayed delivery, which would declare 28 queues for countdowns that we never use."""

        default_steps = [step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in str(step)]

    def connect(self) -> Any:
        """Declares exchanges and queues after each connect, before anything else: no start order loses a message.

        A user who may not declare reads what an operator has declared.
        """
        connection = super().connect()
        if not topology.declare_if_allowed(connection, topology.queues_at(settings.READ_BROKER_URL)):
            for queue in self.app.amqp.queues.values():
                # Or kombu declares it once more as it begins to read.
                queue.no_declare = True  # type: ignore[attr-defined]
        return connection

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's handler, whose exceptions about the message become a rejection."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_reject(message: Any) -> Any:
            try:
                why = self._unfit(message)
            except Exception as error:
                return self.on_decode_error(message, error)
            if why is not None:
                return self._reject(message, why)
            try:
                return handle(message)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                return self._reject(message, f"not a protocol 2 message ({type(error).__name__})")

        return handle_or_reject

    def _unfit(self, message: Any) -> str | None:
        """Why Celery must not see the message; None when it may, with what it has no business with taken out.

        A delay or a link to other tasks holds it in the worker for ever, a time limit that is none takes a process out of the
        pool for good, a past expiry loses it. Raises what decoding raises.
        """
        headers = message.headers or {}
        if not (isinstance(headers.get("task"), str) and isinstance(headers.get("id"), str)):
            return "not a task"
        if len(headers["id"]) > MAX_ID:
            return "not a valid task (its id is too long)"
        triple = message.payload
        if (
            not isinstance(triple, list)
            or [type(part) for part in triple] != [list, dict, dict]
            or any(triple[2].values())
        ):
            return "not the body of a single task"
        kept = KEPT | {"expires"} if (message.delivery_info or {}).get("routing_key") == EXPIRING else KEPT
        message.headers = {name: value for name, value in headers.items() if name in kept and isinstance(value, str)}
        return None

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Not the declared encoding."""
        self._reject(message, f"cannot be decoded ({type(exc).__name__})")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """No task header."""
        self._reject(message, "not a task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task that we do not have."""
        self._reject(message, "a task with an unknown name")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task message with parts missing."""
        self._reject(message, f"not a valid task ({type(exc).__name__})")

    def _reject(self, message: Any, why: str) -> None:
        # The id only: headers and body may hold account numbers.
        log.error("message dead-lettered", extra={"reason": why})
        message.reject_log_error(log, self.connection_errors)  # type: ignore[attr-defined]
