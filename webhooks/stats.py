"""Backlog, oldest waiting and dead results; read-only."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Count, Min

from outbox.clock import database_now
from outbox.stats import AT_MOST, OLDEST_AMONG, shown
from webhooks.models import InboxMessage, Refusal


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


_BACKLOG = """
    SELECT (SELECT count(*) FROM (SELECT 1 FROM webhooks_inboxmessage WHERE state IN ('received', 'failed')
                                   LIMIT %s) AS a),
           (SELECT count(*) FROM (SELECT 1 FROM webhooks_inboxmessage WHERE state IN ('dead', 'quarantined', 'conflict')
                                     AND NOT discarded LIMIT %s) AS b)
"""


def backlog(now: datetime | None = None) -> Backlog:
    """Waiting, and what needs somebody (dead, quarantined, conflicting), at a bounded price."""
    waiting = InboxMessage.objects.filter(state__in=["received", "failed"])
    first = list(waiting.order_by("due_at", "id").values_list("received_at", flat=True)[:OLDEST_AMONG])
    with connection.cursor() as cursor:
        cursor.execute(_BACKLOG, [AT_MOST + 1, AT_MOST + 1])
        count, stuck = cursor.fetchone()
    age = ((now or database_now()) - min(first)).total_seconds() if first else 0.0
    return Backlog(shown(count), max(0.0, age), shown(stuck))


@dataclass(frozen=True, slots=True)
class RefusalStats:
    """Results refused for one reason at one door."""

    door: str
    reason: str
    count: int
    age_seconds: float


def refusal_stats(now: datetime | None = None) -> list[RefusalStats]:
    """All reasons that ever occurred, the latest first."""
    now = now or database_now()
    return [
        RefusalStats(row.door, row.reason, row.count, max(0.0, (now - row.last_at).total_seconds()))
        for row in Refusal.objects.order_by("-last_at")
    ]


def newest_result_age_seconds() -> float | None:
    """How long ago the last result was taken in; None when there never was one."""
    newest = InboxMessage.objects.order_by("-id").values_list("received_at", flat=True).first()
    return None if newest is None else (database_now() - newest).total_seconds()


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
