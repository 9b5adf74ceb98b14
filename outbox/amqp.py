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

from django.conf import settings

from outbox import topology
from outbox.confirms import ConfirmTracker
from outbox.envelope import Message
from outbox.frames import publish_frames
from outbox.publisher import Outcome, PublishError, Refusal, StoredEvent, wrap_all

log = logging.getLogger(__name__)

# A connection idle for longer is replaced rather than trusted: nobody sent heartbeats on it (seconds).
IDLE_SECONDS = 20.0
# Written in one system call. More gains nothing; less costs the broker and us a wake-up for each.
WRITE_BYTES = 64 * 1024


class BlockedError(Exception):
    """The broker blocks publishers: a memory or disk alarm."""


class AmqpPublisher:
    """Publishes to the topic exchange of each event's route. One connection and channel per process, opened when needed."""

    name = "broker"

    def __init__(self, broker_url: str | None = None) -> None:
        # Of a cluster, the node to try first stands in front.
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
            self._send_and_wait(messages, deadline, outcome)
            if self._tracker.returned:
                self._retry_returned(messages, deadline, outcome)
        except Exception as error:
            outcome.trouble = _trouble(error, self._blocked)
            self._prefer_another_node()
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
            topology.open_any(self._connection)
            topology.declare_if_allowed(self._connection)
            self._channel = self._connection.channel()
            self._channel.confirm_select()
            self._tracker = ConfirmTracker()
            self._channel.events["basic_ack"].add(self._on_ack)
            self._channel.events["basic_nack"].add(self._on_nack)
            self._channel.events["basic_return"].add(self._on_return)
        self._tracker.forget()

    def _prefer_another_node(self) -> None:
        """One that accepts connections and then does not work must not be the first choice again."""
        first, _, others = self._url.partition(";")
        self._url = f"{others};{first}" if others else first

    def _dead_on_arrival(self) -> bool:
        """Reads what came while we were idle: a close, an alarm. True if the connection is of no use any more."""
        try:
            self._drain(0)
        except Exception:
            return True
        return self._blocked is not None

    def _send_and_wait(self, messages: Iterable[Message], deadline: float, outcome: Outcome) -> None:
        raw, buffer = self._channel.connection, bytearray()
        stopped: set[str] = set()
        for message in messages:
            if message.key in stopped:
                continue
            try:
                frames = publish_frames(message, self._channel.channel_id, raw.frame_max)
            except ValueError as error:
                # The event's own fault. As trouble of the broker it would hold up everybody, for ever.
                outcome.refused[message.id] = Refusal(f"Cannot be sent: {error}")
                stopped.add(message.key)
                continue
            # Noted first: a write that fails half way may still have arrived.
            self._tracker.published(message.id)
            buffer += frames
            if len(buffer) >= WRITE_BYTES:
                self._write(buffer, deadline)
                buffer = bytearray()
        if buffer:
            self._write(buffer, deadline)
        while self._tracker.outstanding:
            self._refuse_if_blocked()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no confirm for {self._tracker.outstanding} events within the publish timeout")
            self._drain(min(left, 0.5))

    def _write(self, buffer: bytearray, deadline: float) -> None:
        """Writes, then reads the acks that have arrived, so that neither side's buffers fill."""
        if time.monotonic() > deadline:
            raise TimeoutError("writing to the broker took too long")
        self._channel.connection.transport.write(buffer)
        self._drain(0)
        self._refuse_if_blocked()

    def _drain(self, seconds: float) -> None:
        """Handles what the broker has sent; waits up to `seconds` for the first of it, then takes all there is."""
        raw, wait = self._channel.connection, seconds
        while _readable(raw.transport, wait):
            # One frame. drain_events() reads on until a method came, and after a mere heartbeat would wait for one.
            raw.blocking_read(timeout=5)
            wait = 0

    def _retry_returned(self, messages: Sequence[Message], deadline: float, outcome: Outcome) -> None:
        """Someone deleted a queue or binding: declares the topology anew and sends once more what came back.

        And what followed it in its key, so that the order holds although some of that did arrive.
        """
        returned = self._tracker.returned
        self._tracker.returned = {}
        if topology.declare_if_allowed(self._connection):
            log.warning("topology declared anew", extra={"returned": len(returned)})
        again, keys = [], set()
        for message in messages:
            if message.id in returned or message.key in keys:
                keys.add(message.key)
                again.append(message)
        self._tracker.confirmed -= {message.id for message in again}
        self._send_and_wait(again, deadline, outcome)

    def _report(self, outcome: Outcome) -> None:
        tracker = self._tracker
        outcome.confirmed |= tracker.confirmed - tracker.returned.keys() - tracker.nacked
        for message_id in tracker.nacked:
            outcome.refused[message_id] = Refusal("NACK: the queue is full or unavailable.", blameless=True)
        for message_id, reason in tracker.returned.items():
            outcome.refused[message_id] = Refusal(f"NO_ROUTE: no queue is bound for it ({reason}).")
        if tracker.nacked and not outcome.confirmed and outcome.trouble is None:
            # Nothing gets in: to go on at full speed would only keep the broker busy, and the fallback waiting.
            outcome.trouble = PublishError("The broker refuses all events: the queue is full or unavailable.")
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


def _readable(transport: Any, seconds: float) -> bool:
    """Whether the broker has sent something. py-amqp and TLS may hold the rest of the last read where poll() is blind."""
    if transport._read_buffer:
        return True
    pending = getattr(transport.sock, "pending", None)
    if pending is not None and pending():
        return True
    # Not select(): it knows no file numbers from 1024 on.
    poller = select.poll()
    poller.register(transport.sock, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


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
