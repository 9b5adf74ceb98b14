"""A queue of our own bound to the exchange: what was on the wire, in the order in which it came."""

import contextlib
import json
import socket
import threading
import time

import kombu

EXCHANGE = kombu.Exchange("transactions", type="topic", durable=True)
TAP = "faults.tap"
# A quorum queue with a limit: after a restart of the broker a message keeps its place.
ARGUMENTS = {"x-queue-type": "quorum", "x-delivery-limit": 1000}
# Someone may delete the binding; the tap binds again this often (seconds).
REBIND_SECONDS = 0.3


class Tap:
    """Reads in a thread; reconnects for ever."""

    def __init__(self, broker_url: str) -> None:
        self.broker_url = broker_url
        self.seen: list[tuple[str, str, int]] = []
        # What was no event, and should have been one.
        self.unread: list[str] = []
        self._known: set[str] = set()
        self._stopping = threading.Event()
        self._bound = threading.Event()
        self.last_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True, name="tap")
        self._thread.start()

    def wait_until_bound(self, seconds: float = 60.0) -> None:
        assert self._bound.wait(seconds), "the tap is not bound"

    def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(Exception):
                self._read()
            self._stopping.wait(0.2)

    def _read(self) -> None:
        with kombu.Connection(self.broker_url, connect_timeout=2, heartbeat=4) as connection:
            connection.ensure_connection(max_retries=0)
            queue = kombu.Queue(TAP, EXCHANGE, routing_key="#", durable=True, queue_arguments=ARGUMENTS)
            with connection.channel() as channel, connection.channel() as binding:
                queue(binding).declare()
                self._bound.set()
                bound_at = time.monotonic()
                channel.basic_qos(0, 200, False)
                with kombu.Consumer(channel, [queue], callbacks=[self._take]):
                    while not self._stopping.is_set():
                        with contextlib.suppress(socket.timeout):
                            connection.drain_events(timeout=REBIND_SECONDS)
                        connection.heartbeat_check()
                        if time.monotonic() - bound_at > REBIND_SECONDS:
                            queue(binding).declare()
                            bound_at = time.monotonic()

    def _take(self, body, message) -> None:
        headers = message.headers
        try:
            event_id, subject = headers["cloudEvents_id"], headers["cloudEvents_subject"]
            event = body[1]["event"] if isinstance(body, list) else json.loads(body)
        except (KeyError, TypeError, ValueError) as error:
            # Handed back, it would come again and again, and hide all that is behind it.
            self.unread.append(f"{message.delivery_info['routing_key']}: {error!r}")
            message.ack()
            return
        # Handed over again by the broker because our acknowledgement was lost: the same message, not another.
        again = message.delivery_info["redelivered"] and event_id in self._known
        if not again:
            self.seen.append((event_id, subject, int(event["sequence"])))
            self._known.add(event_id)
        self.last_at = time.monotonic()
        message.ack()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(15)
