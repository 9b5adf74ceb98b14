"""Puts the simulated world under the real decision code: in its modules' names, for as long as a block runs."""

import datetime as real_datetime
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID

from django.conf import settings

from outbox import amqp, claim, delivery, models, relay, turns
from outbox.publisher import Publisher
from tests.simulation import broker, orm, sql
from tests.simulation.database import EPOCH
from tests.simulation.world import World
from transactions import applying
from transactions import services as transactions
from webhooks import fallback, inbox, receiving, services
from webhooks import models as inbox_models
from webhooks.pinned_http import Answer
from webhooks.signing import ID_HEADER

SETTINGS = {
    "OUTBOX_LEASE_SECONDS": 10,
    "OUTBOX_PUBLISH_TIMEOUT_SECONDS": 2.0,
    "OUTBOX_FALLBACK_TIMEOUT_SECONDS": 8.0,
    "OUTBOX_FALLBACK_AFTER_SECONDS": 4.0,
    "OUTBOX_PROBE_SECONDS": 1.0,
    "OUTBOX_BACKOFF_CAP_SECONDS": 30.0,
    "OUTBOX_MAX_ATTEMPTS": 20,
    "INBOX_LEASE_SECONDS": 10,
    "BROKER_TRANSPORT_URL": "amqp://simulated",
    "CONSUMER_WEBHOOK_URL": "http://consumer.simulated/events",
}


# What the database fills in, but for the times.
OUTBOX_DEFAULTS: dict[str, Any] = {
    "state": "pending", "attempts": 0, "parked": False, "discarded": False, "lease_token": None, "claimed_by": "",
    "error": "", "channel": "", "published_at": None, "confirm_ms": None,
}  # fmt: skip


def _database() -> Any:
    return World.current.database


class Time:
    """The time module of the current process: its wall clock may be wrong."""

    def monotonic(self) -> float:
        return World.current.scheduler.now + 1000.0

    def time(self) -> float:
        scheduler = World.current.scheduler
        assert scheduler.current is not None
        return EPOCH.timestamp() + scheduler.now + scheduler.current.skew

    def sleep(self, seconds: float) -> None:
        World.current.scheduler.sleep(seconds)


class _AnyDatetime(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, real_datetime.datetime)


class Datetime(metaclass=_AnyDatetime):
    """datetime.datetime of the current process, whose clock may be wrong."""

    @staticmethod
    def now(zone: Any = None) -> real_datetime.datetime:
        return real_datetime.datetime.fromtimestamp(Time().time(), zone)


class Threads:
    """The webhook channel's threads, each run where it is started: what they do between them is not simulated."""

    class Thread:
        def __init__(self, target: Any, **_: Any) -> None:
            self.start = target

    class Lock:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    class Event:
        def set(self) -> None: ...
        def wait(self, seconds: float) -> None: ...


class Webhook:
    """The Consumer's web server, in the mood that the world is in."""

    def __init__(self, *_: Any) -> None:
        self.sock: object | None = None

    def post(self, path: str, body: bytes, headers: dict[str, str], **_: float) -> Answer:
        world = World.current
        world.scheduler.step(f"webhook, {world.answering}")
        event_id, mood = UUID(headers[ID_HEADER]), world.answering
        if mood == "flaky":
            mood = world.random.choice(("ok", "404", "422", "500"))
        if mood == "down":
            raise ConnectionRefusedError("nobody listens")
        if mood in {"ok", "timeout", "lost"}:
            world.watch.arrival(event_id)
            world.consumer.process(event_id)
            world.scheduler.step("webhook answers")
            if mood == "timeout":
                world.scheduler.sleep(2.0)
                raise TimeoutError("read timeout")
            if mood == "lost":
                raise ConnectionResetError("connection reset by peer")
            self.sock = self
            return Answer(202, None)
        # Nothing is pipelined here: what follows in its key has to wait.
        world.watch.refusals[event_id] += mood in {"401", "404", "422", "500"}
        return Answer(int(mood), "2" if mood == "503" else None)

    def close(self) -> None:
        self.sock = None

    abort = close


def _connect(*_: Any, **options: Any) -> broker.Link:
    return broker.Link(World.current.broker, **options)


def _publishers() -> tuple[Publisher, ...]:
    process = World.current.scheduler.current
    assert process is not None
    found: tuple[Publisher, ...] = process.belongings["publishers"].all
    return found


def _database_now() -> real_datetime.datetime:
    now: real_datetime.datetime = _database().run("clock", lambda session: _database().clock())
    return now


class Inbox(orm.Model):
    """InboxMessage, whose claim is a raw statement."""

    @property
    def objects(self) -> Any:
        query = orm.Query(self)
        query.raw = lambda statement, values: sql.claim_results(_database(), values)  # type: ignore[attr-defined]
        return query


@contextmanager
def simulated() -> Iterator[None]:
    """Within, the modules below know no other world."""
    outbox_rows = orm.Model(_database, "outbox", defaults=OUTBOX_DEFAULTS, State=models.OutboxMessage.State)
    channel = {
        "failing_since": None,
        "retry_at": None,
        "failures": 0,
        "disabled": False,
        "reason": "",
        "changed_at": None,
    }
    channels = orm.Model(_database, "channel", "name", channel)
    inbox_rows = Inbox(
        _database, "inbox", State=inbox_models.InboxMessage.State, WAITING=inbox_models.InboxMessage.WAITING
    )
    time, atomic = Time(), sql.Transactions(_database)
    portable, postgres = sql.Connection(_database, "simulated"), sql.Connection(_database, "postgresql")
    topology = SimpleNamespace(
        connect=_connect,
        open_any=lambda connection: connection.ensure_connection(),
        declare_if_allowed=lambda connection: World.current.broker.declare() or True,
    )
    places: list[tuple[Any, dict[str, Any]]] = [
        (claim, {"OutboxMessage": outbox_rows, "transaction": atomic, "connection": portable, "datetime": Datetime}),
        (turns, {"OutboxMessage": outbox_rows, "connection": portable}),
        (
            delivery,
            {
                "OutboxMessage": outbox_rows, "ChannelState": channels, "transaction": atomic, "topology": topology,
                "publishers": _publishers, "database_now": _database_now,
            },
        ),
        (relay, {"time": time, "log": Silence()}),
        (
            amqp,
            {
                "time": time, "topology": topology, "publish_frames": broker.frames_of, "log": Silence(),
                "_readable": lambda transport, seconds: transport.readable(seconds),
                "_collect": lambda connection: connection.vanish(),
            },
        ),
        (
            fallback,
            {
                "time": time, "threading": Threads, "PinnedConnection": Webhook, "resolve": lambda *_: ["127.0.0.1"],
                "check_url": lambda *_: SimpleNamespace(scheme="http", path="/events"), "consumer_keys": lambda: [],
                "can_sign": lambda: True, "sign": lambda *_: "v1,",
            },
        ),
        (
            inbox,
            {
                "ReusedWebhookId": orm.Model(_database, "reused"),
                "InboxMessage": inbox_rows, "transaction": atomic, "connection": postgres,
            },
        ),
        (receiving, {"transaction": atomic, "log": Silence(), "nudge": SimpleNamespace(poke=lambda: None)}),
        (
            services,
            {
                "transaction": atomic, "connection": postgres, "time": time, "log": Silence(),
                "database_now": _database_now,
            },
        ),
        (applying, {"connection": postgres}),
        (transactions, {"datetime": Datetime}),
    ]  # fmt: skip
    before = {name: getattr(settings, name) for name in SETTINGS}
    patches = [patch.object(module, name, new) for module, names in places for name, new in names.items()]
    for change in patches:
        change.start()
    for name, value in SETTINGS.items():
        setattr(settings, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)
        for change in reversed(patches):
            change.stop()


class Silence:
    """A logger: 10,000 worlds have much to say."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None
