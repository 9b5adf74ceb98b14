"""Looks at the queues: how full, who reads them, are they there at all. What is missing is declared anew, a binding too."""

import logging
from typing import Any

from amqp.exceptions import NotFound
from django.conf import settings
from django.db.models.functions import Now

from outbox import topology
from outbox.models import QueueState

log = logging.getLogger(__name__)

# The broker has so long for each answer (seconds); a frozen one must not hold the watch for ever.
ANSWER_SECONDS = 2.0


class QueueWatch:
    """One connection, kept. Not for the embedded broker, which has no such notions."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._may_declare = True

    def look(self) -> int:
        """Writes down each queue's state; returns how many had to be declared anew. Raises what the broker raises."""
        if not settings.BROKER_TRANSPORT_URL.startswith("amqp"):
            return 0
        try:
            if self._connection is None:
                deadlines = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), ANSWER_SECONDS)
                self._connection = topology.connect(settings.BROKER_URL, **deadlines)
                self._may_declare = True
                topology.open_any(self._connection)
            return self._look()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drops the connection without a handshake, which a frozen broker would not answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect()

    def _look(self) -> int:
        found, missing = [], []
        for queue in topology.queues_at(settings.BROKER_URL):
            channel = self._connection.channel()
            try:
                answer = channel.queue_declare(queue.name, passive=True)
                found.append(
                    QueueState(
                        name=queue.name, messages=answer.message_count, consumers=answer.consumer_count, seen_at=Now()
                    )
                )
                channel.close()
            except NotFound:
                # The broker has closed the channel, not the connection.
                missing.append(QueueState(name=queue.name, seen_at=Now(), remade_at=Now()))
        _write(found, ["messages", "consumers", "seen_at"])
        # Each time: nobody can ask for a binding, and where another queue is bound as well, the broker confirms what our
        # Consumer does not get. A user who may not is refused once and not at each look.
        if missing or self._may_declare:
            self._may_declare = topology.declare_if_allowed(self._connection)
        if not missing:
            return 0
        names = [state.name for state in missing]
        if not self._may_declare:
            log.error("queue is missing, and this user may not declare it", extra={"queues": names})
            return 0
        log.error("queue was missing, declared anew", extra={"queues": names})
        _write(missing, ["messages", "consumers", "seen_at", "remade_at"])
        return len(missing)


def _write(states: list[QueueState], fields: list[str]) -> None:
    QueueState.objects.bulk_create(states, update_conflicts=True, unique_fields=["name"], update_fields=fields)
