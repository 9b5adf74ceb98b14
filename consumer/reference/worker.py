"""A Celery consumer that survives whatever lands in the queue: unreadable messages are dead-lettered, never fatal."""

import logging
from typing import Any

from amqp.exceptions import AccessRefused
from celery.worker.consumer import Consumer
from kombu import Message

from processing import topology

log = logging.getLogger("consumer.worker")

# Of a message's headers, those that a worker needs, and only as text. Whatever else stands there is for Celery, and from
# whoever can write to the queue.
KEPT = frozenset({"lang", "task", "id", "root_id", "parent_id", "origin", "argsrepr", "kwargsrepr"})
MAX_ID = 255


class StrictConsumer(Consumer):
    """Celery's consumer with four answers changed; its own log whole bodies, acknowledge, or end the worker."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc, valid-type]
        # Delayed delivery is for ETA and countdown, which we never use; it would declare 28 queues in the vhost.
        default_steps = [step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step]

    def connect(self) -> Any:
        """Declares queue and dead-letter queue after each connect, before anything else reads.

        A user who may not declare reads what an operator has declared.
        """
        connection = super().connect()
        try:
            with connection.channel() as channel:
                topology.declare(channel)
        except AccessRefused:
            for queue in self.app.amqp.queues.values():
                # Or kombu declares it once more as it begins to read.
                queue.no_declare = True
        return connection

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_dead_letter(message: Message) -> Any:
            try:
                why = self._unfit(message)
            except Exception as error:
                return self.on_decode_error(message, error)
            if why is not None:
                return self._dead_letter(message, why)
            try:
                return handle(message)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                # E.g. a task header over a body that is not Celery's triple: celery.worker.request raises ValueError,
                # which would end the worker, and after the redelivery the next one.
                return self._dead_letter(message, f"not a protocol 2 message ({type(error).__name__})")

        return handle_or_dead_letter

    def _unfit(self, message: Message) -> str | None:
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
        message.headers = {name: value for name, value in headers.items() if name in KEPT and isinstance(value, str)}
        return None

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        self._dead_letter(message, f"cannot be decoded ({type(exc).__name__})")

    def on_unknown_message(self, body: Any, message: Message) -> None:
        self._dead_letter(message, "not a task")

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:
        self._dead_letter(message, "a task with an unknown name")

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:
        self._dead_letter(message, f"not a valid task ({type(exc).__name__})")

    def _dead_letter(self, message: Message, why: str) -> None:
        """Rejects without requeue. Logs the id only: headers and body may hold account numbers."""
        log.error("message %r dead-lettered: %s", str(message.properties.get("message_id"))[:64], why)
        message.reject_log_error(log, self.connection_errors)  # type: ignore[attr-defined]
