"""RabbitMQ as the real AMQP publisher meets it: confirms late, many at once, out of order, lost; alarms, cuts, freezes."""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from tests.simulation.scheduler import Scheduler

ID_BYTES = 16


class Broker:
    """One queue. What a connection wrote is read by and by; `queue` is what the Consumer will get."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.up, self.alarm, self.frozen, self.full, self.routed = True, False, False, False, True
        # No queue wants them, and declaring the topology does not help.
        self.unroutable = False
        self.connections: list[Link] = []
        self.queue: deque[UUID] = deque()
        self.accepted: Callable[[UUID], None] = lambda message: None
        # The second argument: whether that is held against the event, which costs it an attempt.
        self.refused: Callable[[UUID, bool], None] = lambda message, burns: None

    def declare(self) -> None:
        """The topology is there again."""
        self.routed = True

    def crash(self) -> None:
        """kill -9: what was acknowledged is on disk; of what was not, nobody knows."""
        self.up = self.alarm = self.frozen = self.full = False
        for link in list(self.connections):
            self.read(link, self.scheduler.random.randrange(3))
            link.cut()

    def work(self) -> None:
        """Reads a little from somebody, tells somebody a little."""
        chance = self.scheduler.random
        if not self.up or self.frozen or not self.connections:
            return
        link = chance.choice(self.connections)
        if not self.alarm:
            self.read(link, chance.choice((1, 2, 8)))
        link.tell(chance)

    def read(self, link: "Link", most: int) -> None:
        """Takes messages off the wire: routed and stored, refused, or returned to the sender."""
        while link.wire and most:
            most -= 1
            message = link.wire.popleft()
            link.tag += 1
            if not self.routed or self.unroutable:
                self.refused(message, True)
                link.frames.append(("basic_return", _return(message)))
                link.unsaid[link.tag] = "basic_ack"
            elif self.full and self.scheduler.random.random() < 0.6:
                # At its limit, with a reader: some get in.
                self.refused(message, False)
                link.unsaid[link.tag] = "basic_nack"
            else:
                self.queue.append(message)
                self.accepted(message)
                link.unsaid[link.tag] = "basic_ack"


def _return(message: UUID) -> tuple[Any, ...]:
    return (None, "exchange", "key", SimpleNamespace(properties={"message_id": str(message)}))


class Link:
    """A connection with its one channel, as kombu and py-amqp show it. It is open until somebody cuts it."""

    channel_id, frame_max = 1, 131072

    def __init__(self, broker: Broker, **options: Any) -> None:
        self.broker, self.options = broker, options
        self.alive = False
        self.tag = 0
        # Written and not yet read by the broker; verdicts not yet told; frames not yet read by us.
        self.wire: deque[UUID] = deque()
        self.unsaid: dict[int, str] = {}
        self.frames: deque[tuple[str, tuple[Any, ...]]] = deque()
        self.events: dict[str, set[Any]] = {"basic_ack": set(), "basic_nack": set(), "basic_return": set()}
        self.transport = self
        self.connection = self
        self.blocked = False
        # A broker that takes nothing still takes this; see outbox.delivery._greets.
        self.greeted = 0

    def ensure_connection(self) -> None:
        self.broker.scheduler.step("amqp connect")
        if not self.broker.up:
            raise ConnectionRefusedError("nobody listens")
        if self.broker.frozen:
            self.broker.scheduler.sleep(1.0)
            raise TimeoutError("no greeting")
        self.alive = True
        self.broker.connections.append(self)

    def channel(self) -> "Link":
        return self

    def confirm_select(self) -> None:
        self._round_trip()

    def _round_trip(self) -> None:
        self.broker.scheduler.step("amqp round trip")
        if self.alive and self.broker.frozen:
            self.broker.scheduler.sleep(2.0)
            raise TimeoutError("read timeout")
        self._need()

    def _need(self) -> None:
        if not self.alive:
            raise ConnectionResetError("connection reset by peer")

    def prepare_message(self, body: bytes) -> bytes:
        return body

    def basic_publish(self, message: bytes, exchange: str, routing_key: str) -> None:
        """The greeting of a probe: confirmed if the broker takes anything at all."""
        self._round_trip()
        if self.broker.alarm:
            self.options["on_blocked"]("low on memory")

    def write(self, buffer: bytes) -> None:
        """One system call: with the connection cut, a part of it may have arrived."""
        self.broker.scheduler.step("amqp write")
        self._need()
        messages = [UUID(bytes=bytes(buffer[at : at + ID_BYTES])) for at in range(0, len(buffer), ID_BYTES)]
        self.wire.extend(messages)

    def tell(self, chance: Any) -> None:
        """Acks and nacks: one, or all up to a tag; in any order, as RabbitMQ may. Alarms first."""
        if self.broker.alarm and not self.blocked:
            self.blocked = True
            self.frames.append(("blocked", ()))
        if not self.unsaid:
            return
        tags = sorted(self.unsaid)
        tag = chance.choice(tags)
        verdict = self.unsaid[tag]
        upto = [known for known in tags if known <= tag]
        if chance.random() < 0.5 and all(self.unsaid[known] == verdict for known in upto):
            for known in upto:
                del self.unsaid[known]
            self.frames.append((verdict, (tag, True)))
        else:
            del self.unsaid[tag]
            self.frames.append((verdict, (tag, False)))

    def readable(self, seconds: float) -> bool:
        """poll(): what came, or that the other side is gone."""
        if seconds <= 0:
            self.broker.scheduler.step("amqp look")
        else:
            self.broker.scheduler.sleep(seconds, lambda: bool(self.frames) or not self.alive)
        return bool(self.frames) or not self.alive

    def blocking_read(self, timeout: float) -> None:
        if not self.frames:
            self._need()
            raise TimeoutError("nothing to read")
        name, arguments = self.frames.popleft()
        if name == "blocked":
            self.options["on_blocked"]("low on memory")
            return
        for callback in list(self.events[name]):
            callback(*arguments)

    def cut(self) -> None:
        """Both ends see it: unread acks may still be in our buffers, most are lost."""
        self.alive = False
        if self.broker.scheduler.random.random() < 0.7:
            self.frames.clear()
        if self in self.broker.connections:
            self.broker.connections.remove(self)

    def release(self) -> None:
        self.vanish()

    def collect(self) -> None:
        self.vanish()

    def vanish(self) -> None:
        """Our end is gone. What is on the wire may still be read before the broker notices."""
        if self.alive:
            self.broker.read(self, self.broker.scheduler.random.choice((0, 0, 3)) if not self.broker.alarm else 0)
            self.alive = False
        if self in self.broker.connections:
            self.broker.connections.remove(self)


def frames_of(message: Any, channel: int, frame_max: int) -> bytes:
    """Stands for outbox.frames.publish_frames: the id is all that the simulated broker looks at."""
    ident: bytes = message.id.bytes
    return ident
