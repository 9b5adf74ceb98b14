"""The real channel: RabbitMQ with pipelined publisher confirms and mandatory routing.

All events of a batch are written before the first confirm is awaited. After any unclear outcome the connection is thrown
away: a late ack on a reused channel would confirm the wrong message.
"""

import contextlib
import logging
import select
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amqp import spec
from django.conf import settings

from outbox import topology
from outbox.confirms import ConfirmTracker
from outbox.envelope import Message
from outbox.publisher import Outcome, PublishError, Refusal, StoredEvent, wrap_all

log = logging.getLogger(__name__)

# A connection idle for longer is replaced rather than trusted: nobody sent heartbeats on it (seconds).
IDLE_SECONDS = 20.0
# After this many writes, acks that have arrived are read, so that neither side's buffers fill.
READ_EVERY = 100


class BlockedError(Exception):
    """The broker blocks publishers: a memory or disk alarm."""


class AmqpPublisher:
    """Publishes to the topic exchange of each event's route. One connection and channel per process, opened when needed."""

    name = "broker"

    def __init__(self, broker_url: str | None = None) -> None:
        self._url = broker_url or settings.BROKER_URL
        self._connection: Any = None
        self._channel: Any = None
        self._tracker = ConfirmTracker()
        self._blocked: str | None = None
        self._used_at = 0.0

    def available(self) -> bool:
        """There is always a broker address."""
        return True

    def publish(
        self, events: Sequence[StoredEvent], routes: Mapping[str, Mapping[str, str]], deadline: float
    ) -> Outcome:
        """See Publisher.publish. Unroutable events get one more try after the topology was declared anew."""
        outcome = Outcome()
        try:
            self._open()
            messages = wrap_all(events, routes, outcome)
            self._send_and_wait(messages, deadline)
            if self._tracker.returned:
                self._retry_returned(messages, deadline)
        except Exception as error:
            outcome.trouble = _trouble(error, self._blocked)
        self._report(outcome)
        if outcome.trouble or self._tracker.outstanding:
            self.close()
        return outcome

    def close(self) -> None:
        """Drops the connection without a handshake, which could hang on a frozen broker."""
        connection, self._connection, self._channel = self._connection, None, None
        self._tracker, self._blocked = ConfirmTracker(), None
        if connection is not None:
            with contextlib.suppress(Exception):
                # Closing the socket is all: the broker notices, and what was unconfirmed is sent again.
                _collect(connection)

    def _open(self) -> None:
        if self._channel is not None and (time.monotonic() - self._used_at > IDLE_SECONDS or self._dead_on_arrival()):
            self.close()
        if self._channel is None:
            self._connection = topology.connect(self._url, on_blocked=self._on_blocked, on_unblocked=self._on_unblocked)
            self._connection.connect()
            topology.declare(self._connection)
            self._channel = self._connection.channel()
            self._channel.confirm_select()
            self._tracker = ConfirmTracker()
            self._channel.events["basic_ack"].add(self._on_ack)
            self._channel.events["basic_nack"].add(self._on_nack)
            self._channel.events["basic_return"].add(self._on_return)
        self._tracker.forget()

    def _dead_on_arrival(self) -> bool:
        """Reads what came while we were idle: a close, an alarm. True if the connection is of no use any more."""
        try:
            self._drain(0)
        except Exception:
            return True
        return self._blocked is not None

    def _send_and_wait(self, messages: Iterable[Message], deadline: float) -> None:
        for count, message in enumerate(messages, start=1):
            if time.monotonic() > deadline:
                raise TimeoutError("writing to the broker took too long")
            # Noted first: a write that fails half way may still have arrived.
            self._tracker.published(message.id)
            self._write(message)
            if count % READ_EVERY == 0:
                self._drain(0)
                self._refuse_if_blocked()
        while self._tracker.outstanding:
            self._refuse_if_blocked()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no confirm for {self._tracker.outstanding} events within the publish timeout")
            self._drain(min(left, 0.5))

    def _write(self, message: Message) -> None:
        channel = self._channel
        prepared = channel.prepare_message(
            message.body,
            content_type=message.content_type,
            content_encoding="utf-8",
            headers=message.headers,
            properties={
                "delivery_mode": 2,
                "message_id": str(message.id),
                "correlation_id": str(message.id),
                "type": message.type,
                "timestamp": message.timestamp,
                "app_id": "producer",
            },
        )
        # Not basic_publish(): that polls the socket before each message, which we do once per READ_EVERY.
        channel.send_method(
            spec.Basic.Publish, "Bssbb", (0, message.exchange, message.routing_key, True, False), prepared
        )

    def _drain(self, seconds: float) -> None:
        """Handles what the broker has sent; waits up to `seconds` for the first of it, then takes all there is."""
        raw = self._channel.connection
        wait = seconds
        # py-amqp may hold the rest of its last read in a buffer, where select() does not see it.
        while raw.transport._read_buffer or select.select([raw.sock], [], [], wait)[0]:
            raw.drain_events(timeout=5)
            wait = 0

    def _retry_returned(self, messages: Sequence[Message], deadline: float) -> None:
        """Someone deleted a queue or binding: declares the topology anew and sends once more what came back."""
        returned = self._tracker.returned
        self._tracker.returned = {}
        topology.declare(self._connection)
        log.warning("topology declared anew", extra={"returned": len(returned)})
        self._send_and_wait([message for message in messages if message.id in returned], deadline)

    def _report(self, outcome: Outcome) -> None:
        tracker = self._tracker
        outcome.confirmed |= tracker.confirmed - tracker.returned.keys()
        for message_id in tracker.nacked:
            outcome.refused[message_id] = Refusal("NACK: the queue is full or unavailable.", blameless=True)
        for message_id, reason in tracker.returned.items():
            outcome.refused[message_id] = Refusal(f"NO_ROUTE: no queue is bound for it ({reason}).")
        self._used_at = time.monotonic()

    def _refuse_if_blocked(self) -> None:
        if self._blocked is not None:
            raise BlockedError(self._blocked)

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._tracker.on_ack(tag, multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._tracker.on_nack(tag, multiple)

    def _on_return(self, error: Exception, exchange: str, routing_key: str, message: Any) -> None:
        self._tracker.on_return(message.properties.get("message_id"), f"{exchange}/{routing_key}")

    def _on_blocked(self, reason: str) -> None:
        self._blocked = reason or "alarm"

    def _on_unblocked(self) -> None:
        self._blocked = None


def _collect(connection: Any) -> None:
    """Closes the socket and frees the objects, with no closing handshake."""
    raw = connection._connection
    if raw is not None:
        raw.collect()
    connection._closed = True


def _trouble(error: Exception, blocked: str | None) -> PublishError:
    if blocked is not None or isinstance(error, BlockedError):
        return PublishError(f"The broker blocks publishers: {blocked or error}")
    # Only the kind and the broker's own words; a broker address may hold a password.
    return PublishError(f"{type(error).__name__}: {str(error)[:200]}")
