"""Backlog, oldest waiting and dead results; read-only."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Count, Min

from outbox.clock import database_now
from outbox.stats import AT_MOST, OLDEST_AMONG, shown, since
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
class RefusalStats:
    """Results refused for one reason at one door."""

    door: str
    reason: str
    count: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a page may ask every few seconds: counts are exact up to AT_MOST ("1000+" above it).

    `newest_age_seconds`: since the last result was taken in, None when there never was one. `refusals`: as refusal_stats().
    """

    waiting: str
    oldest_age_seconds: float
    stuck: str
    newest_age_seconds: float | None
    refusals: list[RefusalStats]


# The figures once, beside each refusal, or alone when nothing was ever refused.
_BACKLOG = """
    SELECT (SELECT count(*) FROM (SELECT 1 FROM webhooks_inboxmessage WHERE state IN ('received', 'failed')
                                   LIMIT %s) AS a),
           (SELECT min(received_at) FROM (SELECT received_at FROM webhooks_inboxmessage
                                           WHERE state IN ('received', 'failed') ORDER BY due_at, id LIMIT %s) AS b),
           (SELECT count(*) FROM (SELECT 1 FROM webhooks_inboxmessage WHERE state IN ('dead', 'quarantined', 'conflict')
                                     AND NOT discarded LIMIT %s) AS c),
           (SELECT received_at FROM webhooks_inboxmessage ORDER BY id DESC LIMIT 1),
           door, reason, count, last_at
      FROM (SELECT 1) AS once LEFT JOIN webhooks_refusal ON true
     ORDER BY last_at DESC
"""


def backlog(now: datetime | None = None) -> Backlog:
    """Waiting, what needs somebody (dead, quarantined, conflicting), and what was refused: one statement of bounded price."""
    now = now or database_now()
    with connection.cursor() as cursor:
        cursor.execute(_BACKLOG, [AT_MOST + 1, OLDEST_AMONG, AT_MOST + 1])
        rows = cursor.fetchall()
    waiting, oldest, stuck, newest = rows[0][:4]
    refusals = [
        RefusalStats(door, reason, count, since(at, now) or 0.0)
        for *_, door, reason, count, at in rows
        if at is not None
    ]
    return Backlog(shown(waiting), since(oldest, now) or 0.0, shown(stuck), since(newest, now), refusals)


def refusal_stats(now: datetime | None = None) -> list[RefusalStats]:
    """All reasons that ever occurred, the latest first."""
    now = now or database_now()
    return [
        RefusalStats(row.door, row.reason, row.count, max(0.0, (now - row.last_at).total_seconds()))
        for row in Refusal.objects.order_by("-last_at")
    ]


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
