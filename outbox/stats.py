"""Depth, oldest age, dead and channel state; read-only, three readers: health, metrics, admin."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from outbox.clock import database_now
from outbox.ids import time_of
from outbox.models import ChannelState, OutboxMessage

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


def backlog() -> Backlog:
    """The figures of `outbox_stats` at a bounded price, whatever waits."""
    pending = OutboxMessage.objects.filter(state="pending")
    first = list(pending.order_by("due_at", "id").values_list("id", flat=True)[:OLDEST_AMONG])
    return Backlog(
        waiting=shown(pending.order_by()[: AT_MOST + 1].count()),
        oldest_age_seconds=_age(str(min(first)), database_now()) if first else 0.0,
        dead=shown(OutboxMessage.objects.filter(state="dead", discarded=False).order_by()[: AT_MOST + 1].count()),
    )


def shown(count: int) -> str:
    """A bounded count as people read it."""
    return f"{AT_MOST}+" if count > AT_MOST else str(count)


def channel_stats() -> list[ChannelStats]:
    """Every channel that ever failed, with since when it fails now."""
    now = database_now()
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
