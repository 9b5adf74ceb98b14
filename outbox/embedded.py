"""The channel that needs no server: kombu's filesystem transport. For the first five minutes only."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import kombu

from outbox import topology
from outbox.envelope import Message
from outbox.publisher import Outcome, PublishError, Refusal, StoredEvent, wrap_all


class EmbeddedPublisher:
    """Writes one file per event. A virtual transport drops what no queue takes, so the binding is looked up first."""

    name = "broker"

    def __init__(self) -> None:
        self._connection: kombu.Connection | None = None
        self._producer: kombu.Producer | None = None
        # The last millisecond in which a file was named, and the keys of what was written in it.
        self._named_at, self._keys = 0, set[str]()

    def available(self) -> bool:
        """The folder is always there."""
        return True

    def publish(
        self, events: Sequence[StoredEvent], routes: Mapping[str, Mapping[str, str]], deadline: float
    ) -> Outcome:
        """See Publisher.publish. A file that is written counts as confirmed."""
        outcome = Outcome()
        stopped: set[str] = set()
        try:
            producer = self._open()
            for message in wrap_all(events, routes, outcome):
                if time.monotonic() > deadline:
                    raise TimeoutError("writing to the embedded broker took too long")
                if message.key in stopped:
                    continue
                if reason := self._publish_one(producer, message):
                    outcome.refused[message.id] = Refusal(reason)
                    stopped.add(message.key)
                else:
                    outcome.confirmed.add(message.id)
        except Exception as error:
            outcome.trouble = PublishError(f"{type(error).__name__}: {str(error)[:200]}")
            self.close()
        return outcome

    def _publish_one(self, producer: kombu.Producer, message: Message) -> str | None:
        channel: Any = producer.channel
        queues = channel.typeof(message.exchange).lookup(
            channel.get_table(message.exchange), message.exchange, message.routing_key, None
        )
        if not queues:
            return f"NO_ROUTE: no queue is bound for it ({message.exchange}/{message.routing_key})."
        self._wait_for_a_later_name(message.key)
        producer.publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            content_type=message.content_type,
            content_encoding="utf-8",
            headers=message.headers,
            delivery_mode=2,
            message_id=str(message.id),
            correlation_id=str(message.id),
            type=message.type,
            timestamp=message.timestamp,
            app_id="producer",
        )
        if _millisecond() > self._named_at:
            self._named_at, self._keys = _millisecond(), set()
        self._keys.add(message.key)
        return None

    def _wait_for_a_later_name(self, key: str) -> None:
        """kombu names files by the millisecond and a random number, and reads them sorted: two of one key need two."""
        while key in self._keys and _millisecond() <= self._named_at:
            time.sleep(0.0002)

    def close(self) -> None:
        """Drops the connection object; there is no socket behind it."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.release()

    def _open(self) -> kombu.Producer:
        if self._producer is None:
            self._connection = topology.connect()
            topology.declare(self._connection)
            self._producer = kombu.Producer(self._connection.channel(), serializer="json")
        return self._producer


def _millisecond() -> int:
    """As kombu's filesystem transport counts them."""
    return round(time.monotonic() * 1000)
