"""Depth, oldest age, dead and channel state; read-only, three readers: health, metrics, admin."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from outbox.clock import database_now
from outbox.ids import time_of
from outbox.models import ChannelState, OutboxMessage


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """Counts of events; ages in seconds; `published_last_minute` is a count too."""

    pending: int
    oldest_age_seconds: float
    dead: int
    published_last_minute: int


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
