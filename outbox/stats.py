"""Depth, oldest age, dead and channel state; read-only, three readers: health, metrics, admin."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from outbox.clock import database_now
from outbox.heartbeat import DEAD_AFTER_SECONDS
from outbox.ids import time_of
from outbox.models import OutboxMessage
from outbox.trends import moment

# Bounded counts stop here: "more than a thousand" is all that a person needs, and costs the same with a million.
AT_MOST = 1000
# The oldest event is sought among so many that are due first: attempts move due times, and few events have attempts.
OLDEST_AMONG = 100


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """Counts of events; ages in seconds; `published_last_minute` is a count too.

    An event that was requeued waits since then, and not since it was made: it was delivered, or given up, in between.
    """

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


# Those that were requeued are few and have an index of their own: a join, and all is read from indexes alone, whatever waits.
_PENDING = """
    SELECT count(*), min({id}) FILTER (WHERE again.requeued_at IS NULL), min(again.requeued_at)
      FROM outbox_outboxmessage
      LEFT JOIN (SELECT id AS again_id, requeued_at FROM outbox_outboxmessage
                  WHERE state = 'pending' AND requeued_at IS NOT NULL) AS again ON again_id = id
     WHERE state = 'pending'
"""


def outbox_stats() -> OutboxStats:
    """Each figure from a partial index of its own; the oldest event is known from its id, which holds its time."""
    now = database_now()
    with connection.cursor() as cursor:
        cursor.execute(_PENDING.format(id=_id()))
        pending, oldest, requeued_at = cursor.fetchone()
    recent = OutboxMessage.objects.filter(state="published", published_at__gte=now - timedelta(minutes=1))
    return OutboxStats(
        pending=pending,
        oldest_age_seconds=_age(oldest, requeued_at, now),
        dead=OutboxMessage.objects.filter(state="dead").count(),
        published_last_minute=recent.count(),
    )


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """One process that has said something within the last hour, or was the last of its kind to."""

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


@dataclass(frozen=True, slots=True)
class States:
    """What processes, queues and channels are like: `processes` the freshest first, a hundred and the last of each kind, the
    rest by name."""

    processes: list[ProcessStats]
    queues: list[QueueStats]
    channels: list[ChannelStats]


# The queues first: PostgreSQL takes the types of the columns from them.
_STATES = """
    SELECT 'queue', name, '', seen_at, remade_at, messages, consumers, '' FROM outbox_queuestate
     UNION ALL
    SELECT 'channel', name, '', failing_since, NULL, CASE WHEN disabled THEN 1 ELSE 0 END, 0, reason FROM outbox_channelstate
     UNION ALL
    SELECT 'process', name, kind, seen_at, NULL, clock_offset_seconds, database_seconds, note
      FROM (SELECT *, row_number() OVER (ORDER BY seen_at DESC) AS place,
                   row_number() OVER (PARTITION BY kind ORDER BY seen_at DESC) AS place_in_kind
              FROM outbox_processstate) AS ranked
     WHERE place <= 100 OR place_in_kind = 1
"""


def states(now: datetime | None = None) -> States:
    """All three in one statement. `now` by the database's clock saves asking it."""
    now, found = now or database_now(), States([], [], [])
    with connection.cursor() as cursor:
        cursor.execute(_STATES)
        rows = cursor.fetchall()
    for what, name, kind, at, remade_at, first, second, text in rows:
        seconds = since(at, now)
        if what == "process":
            found.processes.append(ProcessStats(name, kind, seconds or 0.0, first, second, text))
        elif what == "channel":
            found.channels.append(ChannelStats(name, seconds or 0.0, bool(first), text))
        else:
            remade = moment(remade_at)
            unix = remade.timestamp() if remade else 0.0
            found.queues.append(QueueStats(name, int(first), int(second), seconds or 0.0, since(remade, now), unix))
    found.processes.sort(key=lambda process: process.silent_seconds)
    found.queues.sort(key=lambda queue: queue.name)
    found.channels.sort(key=lambda channel: channel.name)
    return found


def since(at: datetime | str | None, now: datetime) -> float | None:
    """Seconds; None for what never was."""
    then = moment(at)
    return None if then is None else max(0.0, (now - then).total_seconds())


_BACKLOG = """
    SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox_outboxmessage WHERE state = 'pending' LIMIT %s) AS a),
           (SELECT count(*) FROM (SELECT 1 FROM outbox_outboxmessage WHERE state = 'dead' AND NOT discarded
                                   LIMIT %s) AS b),
           min({id}) FILTER (WHERE requeued_at IS NULL), min(requeued_at)
      FROM (SELECT id, requeued_at FROM outbox_outboxmessage WHERE state = 'pending' ORDER BY due_at, id LIMIT %s) AS c
"""


def backlog(now: datetime | None = None) -> Backlog:
    """The figures of `outbox_stats` at a bounded price, whatever waits: one statement."""
    with connection.cursor() as cursor:
        statement = _BACKLOG.format(id=_id())
        cursor.execute(statement, [AT_MOST + 1, AT_MOST + 1, OLDEST_AMONG])
        waiting, dead, oldest, requeued_at = cursor.fetchone()
    return Backlog(shown(waiting), _age(oldest, requeued_at, now or database_now()), shown(dead))


def parked_count() -> int:
    """Events that wait for an earlier one of their key."""
    return OutboxMessage.objects.filter(state="pending", parked=True).count()


def shown(count: int) -> str:
    """A bounded count as people read it."""
    return f"{AT_MOST}+" if count > AT_MOST else str(count)


def _id() -> str:
    """PostgreSQL has no min() of UUIDs."""
    return "id::text" if connection.vendor == "postgresql" else "id"


def _age(oldest: str | None, requeued_at: datetime | str | None, now: datetime) -> float:
    made = max(0.0, (now - time_of(UUID(oldest))).total_seconds()) if oldest else 0.0
    return max(made, since(requeued_at, now) or 0.0)
