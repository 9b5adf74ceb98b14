"""Depth, oldest age, dead and channel state; read-only, three readers: health, metrics, admin."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from outbox.clock import database_now
from outbox.heartbeat import DEAD_AFTER_SECONDS
from outbox.ids import time_of
from outbox.models import ChannelState, OutboxMessage, ProcessState, QueueState

# Bounded counts stop here: "more than a thousand" is all that a person needs, and costs the same with a million.
AT_MOST = 1000
# The oldest event is sought among so many that are due first: attempts move due times, and few events have attempts.
OLDEST_AMONG = 100


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """Counts of events; ages in seconds; `published_last_minute` is a count too."""

    pending: int
    oldest_age_seconds: float
    dead: int
    published_last_minute: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a page may ask every few seconds: counts are exact up to AT_MOST ("1000+" above it)."""

    waiting: str
    oldest_age_seconds: float
    dead: str


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """One channel: `failing_seconds` is 0 while it works."""

    name: str
    failing_seconds: float
    disabled: bool
    reason: str


def outbox_stats() -> OutboxStats:
    """Each figure from a partial index of its own; the oldest event is known from its id, which holds its time."""
    now = database_now()
    with connection.cursor() as cursor:
        smallest = "min(id::text)" if connection.vendor == "postgresql" else "min(id)"
        cursor.execute(f"SELECT count(*), {smallest} FROM outbox_outboxmessage WHERE state = 'pending'")  # noqa: S608
        pending, oldest = cursor.fetchone()
    recent = OutboxMessage.objects.filter(state="published", published_at__gte=now - timedelta(minutes=1))
    return OutboxStats(
        pending=pending,
        oldest_age_seconds=_age(oldest, now),
        dead=OutboxMessage.objects.filter(state="dead").count(),
        published_last_minute=recent.count(),
    )


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """One process that has said something within the last hour."""

    name: str
    kind: str
    silent_seconds: float
    clock_offset_seconds: float
    database_seconds: float
    note: str

    @property
    def alive(self) -> bool:
        """Whether it spoke lately."""
        return self.silent_seconds < DEAD_AFTER_SECONDS


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue; the numbers are `age_seconds` old. `remade_seconds`: how long ago it had to be declared anew,
    `remade_at`: the same as unix time, 0 for never."""

    name: str
    messages: int
    consumers: int
    age_seconds: float
    remade_seconds: float | None
    remade_at: float


def process_stats(now: datetime | None = None) -> list[ProcessStats]:
    """Every process known, the freshest first; a hundred at most. `now` by the database's clock saves asking it."""
    now = now or database_now()
    return [
        ProcessStats(
            state.name,
            state.kind,
            max(0.0, (now - state.seen_at).total_seconds()),
            state.clock_offset_seconds,
            state.database_seconds,
            state.note,
        )
        for state in ProcessState.objects.order_by("-seen_at")[:100]
    ]


def queue_stats(now: datetime | None = None) -> list[QueueStats]:
    """Every queue as it was seen last."""
    now = now or database_now()
    return [
        QueueStats(
            state.name,
            state.messages,
            state.consumers,
            max(0.0, (now - state.seen_at).total_seconds()),
            max(0.0, (now - state.remade_at).total_seconds()) if state.remade_at else None,
            state.remade_at.timestamp() if state.remade_at else 0.0,
        )
        for state in QueueState.objects.order_by("name")
    ]


_BACKLOG = """
    SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox_outboxmessage WHERE state = 'pending' LIMIT %s) AS a),
           (SELECT min({id}) FROM (SELECT id FROM outbox_outboxmessage WHERE state = 'pending'
                                    ORDER BY due_at, id LIMIT %s) AS b),
           (SELECT count(*) FROM (SELECT 1 FROM outbox_outboxmessage WHERE state = 'dead' AND NOT discarded
                                   LIMIT %s) AS c)
"""


def backlog(now: datetime | None = None) -> Backlog:
    """The figures of `outbox_stats` at a bounded price, whatever waits: one statement."""
    with connection.cursor() as cursor:
        statement = _BACKLOG.format(id="id::text" if connection.vendor == "postgresql" else "id")
        cursor.execute(statement, [AT_MOST + 1, OLDEST_AMONG, AT_MOST + 1])
        waiting, oldest, dead = cursor.fetchone()
    return Backlog(shown(waiting), _age(oldest, now or database_now()), shown(dead))


def parked_count() -> int:
    """Events that wait for an earlier one of their key."""
    return OutboxMessage.objects.filter(state="pending", parked=True).count()


def shown(count: int) -> str:
    """A bounded count as people read it."""
    return f"{AT_MOST}+" if count > AT_MOST else str(count)


def channel_stats(now: datetime | None = None) -> list[ChannelStats]:
    """Every channel that ever failed, with since when it fails now."""
    now = now or database_now()
    return [
        ChannelStats(
            state.name,
            max(0.0, (now - state.failing_since).total_seconds()) if state.failing_since else 0.0,
            state.disabled,
            state.reason,
        )
        for state in ChannelState.objects.order_by("name")
    ]


def _age(oldest: str | None, now: datetime) -> float:
    return max(0.0, (now - time_of(UUID(oldest))).total_seconds()) if oldest else 0.0
