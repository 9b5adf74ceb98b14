"""Claim and settle: the only file that changes an outbox row after its insert.

A claim is one short transaction: lock due rows, leave out those whose key has an earlier event in other hands, move the
rest's due time to the end of the lease and write a token on them. Publishing happens outside. A settlement changes
exactly the ids it is given, and only while the token still stands: a relay that was frozen past its lease settles nothing.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet

from outbox import retry_policy
from outbox.clock import database_now
from outbox.envelope import StoredEvent
from outbox.models import OutboxMessage

# A parked event looks again after this even if nobody released it (seconds); the earlier event's relay may have died.
PARK_SECONDS = 2.0
# Trouble that is the broker's and not the event's comes back this soon (seconds), so that recovery is quick.
BLAMELESS_RETRY_SECONDS = 2.0

_WAITING = OutboxMessage.State.PENDING
_COLUMNS = ("id", "topic", "type", "key", "sequence", "body", "attempts", "created_at", "due_at", "lease_token")

_EARLIER_IN_OTHER_HANDS = """
    SELECT wanted.key, earlier.sequence, earlier.due_at, earlier.lease_token IS NOT NULL
      FROM unnest(%s::text[], %s::bigint[]) AS wanted(key, sequence)
     CROSS JOIN LATERAL (
           SELECT sequence, due_at, lease_token FROM outbox_outboxmessage AS m
            WHERE m.key = wanted.key AND m.sequence < wanted.sequence AND m.state = ANY(%s) AND NOT m.id = ANY(%s::uuid[])
            ORDER BY m.sequence LIMIT 1) AS earlier
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Claimed events in the order in which they must go out; `full` says that more may be due."""

    token: UUID
    events: list[StoredEvent]
    leased_until: datetime
    full: bool
    horizon: datetime | None
    parked: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one event was not delivered. `permanent`: no retry helps. `blameless`: the channel's fault, burns no attempt."""

    reason: str
    permanent: bool = False
    blameless: bool = False


@dataclass(slots=True)
class Settled:
    """Rows changed by one settlement; `lost` were settled by nobody because the lease had passed to another relay."""

    published: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0
    lost: int = 0
    keys: set[str] = field(default_factory=set)


def claim(*, limit: int, lease_seconds: float, relay: str, after: datetime | None = None) -> Batch:
    """Claims up to `limit` due events for `lease_seconds` (database clock).

    `after` is a hint that skips index entries of rows published long ago, which a transaction held open elsewhere keeps
    alive: rows due before it are not looked at. Callers must pass None now and then, or late commits would wait.
    """
    with transaction.atomic():
        now = database_now()
        due = OutboxMessage.objects.filter(state=_WAITING, due_at__lte=now)
        if after is not None:
            due = due.filter(due_at__gte=after)
        rows = list(due.order_by("due_at", "id").select_for_update(skip_locked=True).values_list(*_COLUMNS)[:limit])
        full, horizon = len(rows) == limit, rows[-1][8] if rows else None
        rows = _quarantine_suspects(_bury_exhausted(rows), limit)
        token = uuid.uuid4()
        leased_until = now + timedelta(seconds=lease_seconds)
        if not rows:
            return Batch(token, [], leased_until, full, horizon)
        blockers = _earlier_in_other_hands([(row[3], row[4], row[0]) for row in rows])
        ready = [row for row in rows if not (row[3] in blockers and blockers[row[3]][0] < row[4])]
        if len(ready) < len(rows):
            _park([row for row in rows if row[3] in blockers and blockers[row[3]][0] < row[4]], blockers, now)
        changed = OutboxMessage.objects.filter(
            id__in=[row[0] for row in ready], state=_WAITING, due_at__lte=now
        ).update(due_at=leased_until, lease_token=token, claimed_by=relay, attempts=F("attempts") + 1, parked=False)
        if changed != len(ready):
            # An engine without SKIP LOCKED lets two relays read the same row; the conditional UPDATE decided.
            mine = set(OutboxMessage.objects.filter(lease_token=token).values_list("id", flat=True))
            ready = [row for row in ready if row[0] in mine]
    events = [StoredEvent(row[0], row[1], row[2], row[3], row[4], row[5], row[6] + 1, row[7]) for row in ready]
    # The order of a key is its sequence; between keys it is the order in which they came due (the sort is stable).
    rank = {event.key: position for position, event in reversed(list(enumerate(events)))}
    events.sort(key=lambda event: (rank[event.key], event.sequence))
    return Batch(token, events, leased_until, full, horizon, len(rows) - len(ready))


def _bury_exhausted(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Turns dead what was claimed as often as allowed although no relay lived to say so; returns the others."""
    exhausted = [row[0] for row in rows if row[6] >= settings.OUTBOX_MAX_ATTEMPTS]
    if exhausted:
        OutboxMessage.objects.filter(id__in=exhausted).update(
            state=OutboxMessage.State.DEAD,
            lease_token=None,
            parked=False,
            error="Attempts used up; every relay that claimed it died or lost its lease.",
        )
    return [row for row in rows if row[6] < settings.OUTBOX_MAX_ATTEMPTS]


def _quarantine_suspects(rows: list[tuple[Any, ...]], limit: int) -> list[tuple[Any, ...]]:
    """Never mixes what a dead relay left behind with the rest, and takes less of it after each death.

    One of them may be what killed it. With batches of 500, 125, 31, 7, 1 the culprit ends alone and its neighbours go out.
    """
    if not rows:
        return rows
    if rows[0][9] is None:
        return [row for row in rows if row[9] is None]
    suspects = [row for row in rows if row[9] is not None]
    return suspects[: max(1, limit // 4 ** max(row[6] for row in suspects[:1]))]


def _earlier_in_other_hands(rows: Sequence[tuple[str, int, UUID]]) -> dict[str, tuple[int, datetime, bool]]:
    """For each key: the first undelivered event that is not among `rows` and precedes one of them.

    key -> (its sequence, its due time, whether it is leased). Read after the rows were locked, so it is never too old.
    """
    last: dict[str, int] = {}
    for key, sequence, _ in rows:
        last[key] = max(sequence, last.get(key, sequence))
    states = [_WAITING.value, *([OutboxMessage.State.DEAD.value] if settings.OUTBOX_DEAD_BLOCKS_KEY else [])]
    ids = [row[2] for row in rows]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_EARLIER_IN_OTHER_HANDS, [list(last), list(last.values()), states, ids])
            return {key: (sequence, due_at, leased) for key, sequence, due_at, leased in cursor.fetchall()}
    found: dict[str, tuple[int, datetime, bool]] = {}
    for key, sequence in last.items():
        earlier = (
            OutboxMessage.objects.filter(key=key, sequence__lt=sequence, state__in=states)
            .exclude(id__in=[row[2] for row in rows if row[0] == key])
            .order_by("sequence")
            .values_list("sequence", "due_at", "lease_token")
            .first()
        )
        if earlier:
            found[key] = (earlier[0], earlier[1], earlier[2] is not None)
    return found


def _park(rows: Sequence[tuple[Any, ...]], blockers: Mapping[str, tuple[int, datetime, bool]], now: datetime) -> None:
    """Moves blocked events out of the way until the event before them is settled, so that they cost no further claim."""
    soon = now + timedelta(seconds=PARK_SECONDS)
    by_due: dict[datetime, list[UUID]] = {}
    for row in rows:
        _, due_at, leased = blockers[str(row[3])]
        by_due.setdefault(soon if leased else max(due_at, soon), []).append(row[0])
    for due_at, ids in by_due.items():
        OutboxMessage.objects.filter(id__in=ids, state=_WAITING).update(due_at=due_at, parked=True)


def settle(
    batch: Batch,
    *,
    confirmed: Collection[UUID],
    refused: Mapping[UUID, Refusal],
    channel: str,
    confirm_ms: int,
    release_reason: str = "",
) -> Settled:
    """Settles a batch in one transaction: published, to be retried, dead, and the rest handed back without an attempt.

    Only rows that still carry the batch's token change. Events in neither `confirmed` nor `refused` are released.
    """
    settled = Settled()
    with transaction.atomic():
        now = database_now()
        mine = OutboxMessage.objects.filter(lease_token=batch.token, state=_WAITING)
        if confirmed:
            settled.published = mine.filter(id__in=list(confirmed)).update(
                state=OutboxMessage.State.PUBLISHED,
                published_at=now,
                channel=channel,
                confirm_ms=confirm_ms,
                lease_token=None,
                error="",
            )
            settled.lost += len(confirmed) - settled.published
            settled.keys = {event.key for event in batch.events if event.id in confirmed}
        attempts = {event.id: event.attempts for event in batch.events}
        for event_id, refusal in refused.items():
            _refuse(mine, event_id, attempts[event_id], refusal, now, settled)
        rest = [event.id for event in batch.events if event.id not in confirmed and event.id not in refused]
        if rest:
            settled.released = mine.filter(id__in=rest).update(
                due_at=now, lease_token=None, attempts=F("attempts") - 1, error=release_reason
            )
        if settled.keys or settled.dead:
            # Whoever waited for these keys may look again now and need not wait out the time it was parked for.
            keys = settled.keys | {event.key for event in batch.events if event.id in refused}
            OutboxMessage.objects.filter(parked=True, key__in=list(keys)).update(parked=False, due_at=now)
    return settled


def _refuse(
    mine: QuerySet[OutboxMessage], event_id: UUID, attempts: int, refusal: Refusal, now: datetime, settled: Settled
) -> None:
    row = mine.filter(id=event_id)
    if refusal.permanent or (not refusal.blameless and attempts >= settings.OUTBOX_MAX_ATTEMPTS):
        settled.dead += row.update(state=OutboxMessage.State.DEAD, lease_token=None, error=refusal.reason)
        return
    if refusal.blameless:
        wait, burnt = BLAMELESS_RETRY_SECONDS, 0
    else:
        wait = retry_policy.backoff_seconds(
            attempts, base=settings.OUTBOX_BACKOFF_BASE_SECONDS, cap=settings.OUTBOX_BACKOFF_CAP_SECONDS
        )
        burnt = 1
    settled.retried += row.update(
        due_at=now + timedelta(seconds=wait), lease_token=None, attempts=F("attempts") - 1 + burnt, error=refusal.reason
    )


def release(batch: Batch, reason: str = "") -> int:
    """Hands a whole batch back at once, without an attempt: for a stop, or a channel that is away."""
    return settle(batch, confirmed=(), refused={}, channel="", confirm_ms=0, release_reason=reason).released


def requeue(ids: Iterable[UUID]) -> int:
    """Dead or published events become pending again with fresh attempts. Pending ones are left alone: pressing twice is safe."""
    return OutboxMessage.objects.filter(
        id__in=list(ids), state__in=[OutboxMessage.State.DEAD, OutboxMessage.State.PUBLISHED]
    ).update(state=_WAITING, attempts=0, due_at=database_now(), parked=False, published_at=None, channel="", error="")


def discard(ids: Iterable[UUID], reason: str) -> int:
    """Pending events that nobody holds become dead with `reason`; leased ones are left to their relay."""
    return OutboxMessage.objects.filter(id__in=list(ids), state=_WAITING, lease_token__isnull=True).update(
        state=OutboxMessage.State.DEAD, error=reason, parked=False
    )
