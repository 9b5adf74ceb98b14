"""Backlog, oldest waiting and dead results; read-only."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Min

from outbox.clock import database_now
from outbox.stats import AT_MOST, OLDEST_AMONG, shown
from webhooks.models import InboxMessage


@dataclass(frozen=True, slots=True)
class InboxStats:
    """Counts of results; age in seconds. `waiting` are due or will be; `unmatched` wait for their transaction."""

    waiting: int
    oldest_age_seconds: float
    unmatched: int
    quarantined: int
    dead: int
    conflict: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a page may ask every few seconds: counts are exact up to AT_MOST ("1000+" above it)."""

    waiting: str
    oldest_age_seconds: float
    stuck: str


def backlog() -> Backlog:
    """Waiting, and what needs somebody (dead, quarantined, conflicting), at a bounded price."""
    waiting = InboxMessage.objects.filter(state__in=["received", "failed"])
    first = list(waiting.order_by("due_at", "id").values_list("received_at", flat=True)[:OLDEST_AMONG])
    stuck = InboxMessage.objects.filter(state__in=["dead", "quarantined", "conflict"], discarded=False)
    return Backlog(
        waiting=shown(waiting.order_by()[: AT_MOST + 1].count()),
        oldest_age_seconds=max(0.0, (database_now() - min(first)).total_seconds()) if first else 0.0,
        stuck=shown(stuck.order_by()[: AT_MOST + 1].count()),
    )


def inbox_stats() -> InboxStats:
    """One scan of the partial index of waiting rows, and counts of the states that need somebody."""
    now = database_now()
    waiting = InboxMessage.objects.filter(state__in=["received", "failed"]).aggregate(
        count=Count("id"), oldest=Min("received_at")
    )
    counts = dict(
        InboxMessage.objects.filter(state__in=["unmatched", "quarantined", "dead", "conflict"])
        .values_list("state")
        .annotate(Count("id"))
    )
    age = now - waiting["oldest"] if waiting["oldest"] else timedelta(0)
    return InboxStats(
        waiting=waiting["count"],
        oldest_age_seconds=max(0.0, age.total_seconds()),
        unmatched=counts.get("unmatched", 0),
        quarantined=counts.get("quarantined", 0),
        dead=counts.get("dead", 0),
        conflict=counts.get("conflict", 0),
    )
