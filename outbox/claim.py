"""Claim and settle: the only file that changes an outbox row after its insert, with its short cut `ordinary`.

A claim is one short transaction: lock due rows, leave out those whose key has an earlier event in other hands, move the
rest's due time to the end of the lease and write a token on them. Publishing happens outside. A settlement changes
exactly the ids it is given, and only while the token still stands: a relay that was frozen past its lease settles nothing.
"""

import logging
import uuid
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Case, F, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Concat, Greatest, Now

from outbox import ordinary, retry_policy
from outbox.batch import Batch, Refusal, Settled
from outbox.conflicts import started_over
from outbox.envelope import StoredEvent
from outbox.lookups import AnyOf
from outbox.models import OutboxMessage
from outbox.turns import Earlier, Row, earlier_in_other_hands

log = logging.getLogger(__name__)

# A parked event looks again after this even if nobody released it (seconds); the earlier event's relay may have died.
PARK_SECONDS = 2.0
# Behind a dead event (OUTBOX_DEAD_BLOCKS_KEY) it looks this seldom (seconds): requeue and discard release it at once.
PARK_BEHIND_DEAD_SECONDS = 60.0
# Trouble that is the broker's and not the event's comes back this soon (seconds), so that recovery is quick.
BLAMELESS_RETRY_SECONDS = 2.0
# With no backlog the horizon stays behind by this (seconds): an event is due when it was written and seen when its
# transaction commits. Those that take longer wait for the relay's next full scan.
LATE_COMMIT_SECONDS = 5.0

# The token of what a relay left behind and nobody holds any more. It is still a suspect (`_suspects_apart`), but whoever
# wants to discard it need not wait for its due time, which is no lease then.
LEFT_BEHIND = UUID(int=0)

# Events moved back from the future in one statement.
RECALLED_TOGETHER = 5000

# Events given up at once that are logged one by one; a whole batch of them has one cause.
GIVEN_UP_LOGGED = 10

_WAITING, _DEAD, _PUBLISHED = OutboxMessage.State.PENDING, OutboxMessage.State.DEAD, OutboxMessage.State.PUBLISHED


@started_over
def claim(*, limit: int, lease_seconds: float, relay: str, after: datetime | None = None) -> Batch:
    """Claims up to `limit` due events for `lease_seconds` (database clock).

    `after` is a hint that skips index entries of rows published long ago, which a transaction held open elsewhere keeps
    alive: rows due before it are not looked at. Callers must pass None now and then, or late commits would wait.
    """
    token = uuid.uuid4()
    if connection.vendor == "postgresql":
        taken = ordinary.claim(limit=limit, lease_seconds=lease_seconds, relay=relay, after=after, token=token)
        if taken is not None:
            full = len(taken) == limit
            return Batch(token, _in_sending_order(taken), more=full, horizon=_horizon(taken, full, after))
    with transaction.atomic():
        due = OutboxMessage.objects.filter(state=_WAITING, due_at__lte=Now())
        if after is not None:
            due = due.filter(due_at__gte=after)
        due = due.order_by("due_at", "id").select_for_update(skip_locked=True)
        seen = [Row._make(values) for values in due.values_list(*Row._fields)[:limit]]
        alive = _bury_exhausted(seen)
        rows = _suspects_apart(alive, limit)
        ready = _park_out_of_turn(rows) if rows else []
        if ready and len(ready) != _due(row.id for row in ready).update(
            due_at=Now() + timedelta(seconds=lease_seconds),
            lease_token=token,
            claimed_by=relay,
            attempts=F("attempts") + 1,
            parked=False,
        ):
            # An engine without SKIP LOCKED lets two relays read the same row; the conditional UPDATE decided.
            mine = set(OutboxMessage.objects.filter(lease_token=token).values_list("id", flat=True))
            ready = [row for row in ready if row.id in mine]
    left_out = len(rows) < len(alive)
    full = len(seen) == limit
    return Batch(
        token,
        _in_sending_order(ready),
        more=full or left_out,
        horizon=None if left_out else _horizon(seen, full, after),
    )


def _horizon(seen: list[Row], full: bool, after: datetime | None) -> datetime | None:
    """Nothing comes due before what was seen, but for events whose transaction took long: see LATE_COMMIT_SECONDS."""
    late = timedelta(seconds=0 if full else LATE_COMMIT_SECONDS)
    return seen[-1].due_at - late if seen else after


def _in_sending_order(rows: list[Row]) -> list[StoredEvent]:
    """The order of a key is its sequence; between keys it is the order in which they came due."""
    rank: dict[str, int] = {}
    for position, row in enumerate(rows):
        rank.setdefault(row.key, position)
    rows.sort(key=lambda row: (rank[row.key], row.sequence))
    return [StoredEvent(*row[:6], row.attempts + 1, row.created_at) for row in rows]


def _bury_exhausted(rows: list[Row]) -> list[Row]:
    """Turns dead what was claimed as often as allowed although no relay lived to say so; returns the others."""
    exhausted = [row for row in rows if row.attempts >= settings.OUTBOX_MAX_ATTEMPTS]
    if not exhausted:
        return rows
    reasons: dict[str, list[UUID]] = {}
    for row in exhausted:
        reasons.setdefault(_why_exhausted(row), []).append(row.id)
    for reason, ids in reasons.items():
        _of(ids).filter(state=_WAITING).update(state=_DEAD, lease_token=None, parked=False, error=reason)
    _release_parked({row.key for row in exhausted})
    _tell_of_dead({event_id: reason for reason, ids in reasons.items() for event_id in ids})
    return [row for row in rows if row.attempts < settings.OUTBOX_MAX_ATTEMPTS]


def _why_exhausted(row: Row) -> str:
    """What was known of it is kept: it is what the operator needs, and maybe all there is."""
    if row.lease_token == LEFT_BEHIND and row.error:
        return f"Attempts used up. {row.error}"
    if row.error:
        return f"Attempts used up; the last relay that claimed it died or lost its lease. Before: {row.error}"
    return "Attempts used up; every relay that claimed it died or lost its lease."


def _suspects_apart(rows: list[Row], limit: int) -> list[Row]:
    """Never mixes what a dead relay left behind with the rest, and takes less of it after each death.

    One of them may be what killed it. With batches of 500, 125, 31, 7, 1 the culprit ends alone and its neighbours go out.
    """
    if not rows or rows[0].lease_token is None:
        return [row for row in rows if row.lease_token is None]
    deaths = rows[0].attempts
    suspects = [row for row in rows if row.lease_token is not None and row.attempts == deaths]
    return suspects[: max(1, limit // 4**deaths)]


def _park_out_of_turn(rows: list[Row]) -> list[Row]:
    """Moves events whose turn it is not out of the way, so that they cost no further claim; returns the others.

    Not in turn: behind an undelivered event of the key that is not among `rows`. And behind one that is, but failed
    before: it may fail again, and what is pipelined behind it would overtake.
    """
    earlier = earlier_in_other_hands(rows)
    heads: dict[str, Row] = {}
    for row in rows:
        if row.key not in heads or row.sequence < heads[row.key].sequence:
            heads[row.key] = row
    retried = {key: head.sequence for key, head in heads.items() if head.attempts and head.error}
    if not earlier and not retried:
        return rows
    ready, waits = [], dict[datetime | float, list[UUID]]()
    for row in rows:
        blocker = earlier.get(row.key)
        if blocker is not None and blocker.sequence < row.sequence:
            waits.setdefault(_wait_for(blocker), []).append(row.id)
        elif row.sequence > retried.get(row.key, row.sequence):
            waits.setdefault(PARK_SECONDS, []).append(row.id)
        else:
            ready.append(row)
    kept = {row.id for row in ready}
    left_behind = [row.id for row in rows if row.lease_token is not None and row.id not in kept]
    if left_behind:
        _due(left_behind).update(lease_token=LEFT_BEHIND)
    for wait, ids in waits.items():
        if isinstance(wait, datetime):
            _due(ids).update(due_at=Greatest(Now() + timedelta(seconds=PARK_SECONDS), Value(wait)), parked=True)
        else:
            _due(ids).update(due_at=Now() + timedelta(seconds=wait), parked=True)
    return ready


def _wait_for(blocker: Earlier) -> datetime | float:
    if blocker.state == _DEAD:
        return PARK_BEHIND_DEAD_SECONDS
    return PARK_SECONDS if blocker.leased else blocker.due_at


@started_over
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
    if connection.vendor == "postgresql" and len(confirmed) == len(batch.events) and not refused:
        keys = {event.key for event in batch.events}
        settled.published = ordinary.settle(confirmed, keys, token=batch.token, channel=channel, confirm_ms=confirm_ms)
        settled.lost = len(confirmed) - settled.published
        return settled
    rest = [event.id for event in batch.events if event.id not in confirmed and event.id not in refused]
    with transaction.atomic():
        if confirmed:
            settled.published = _mine(batch, confirmed).update(
                state=_PUBLISHED,
                published_at=Now(),
                channel=channel,
                confirm_ms=confirm_ms,
                lease_token=None,
                error="",
            )
            settled.lost += len(confirmed) - settled.published
        if refused:
            _settle_refused(batch, refused, settled)
        if rest:
            settled.released = _mine(batch, rest).update(
                due_at=Now(), lease_token=None, attempts=F("attempts") - 1, error=release_reason
            )
        if settled.published or settled.dead:
            # Whoever waited for these keys may look again now and need not wait out the time it was parked for.
            _release_parked({event.key for event in batch.events if event.id in confirmed or event.id in refused})
    return settled


def _settle_refused(batch: Batch, refused: Mapping[UUID, Refusal], settled: Settled) -> None:
    attempts = {event.id: event.attempts for event in batch.events}
    blameless: dict[str, list[UUID]] = {}
    dead: dict[UUID, str] = {}
    for event_id, refusal in refused.items():
        if refusal.permanent or (not refusal.blameless and attempts[event_id] >= settings.OUTBOX_MAX_ATTEMPTS):
            if _mine(batch, [event_id]).update(state=_DEAD, lease_token=None, error=refusal.reason):
                dead[event_id] = refusal.reason
        elif refusal.blameless:
            blameless.setdefault(refusal.reason, []).append(event_id)
        else:
            settled.retried += _mine(batch, [event_id]).update(
                due_at=Now() + _backoff(attempts[event_id]), lease_token=None, error=refusal.reason
            )
    for reason, ids in blameless.items():
        settled.retried += _mine(batch, ids).update(
            due_at=Now() + timedelta(seconds=BLAMELESS_RETRY_SECONDS),
            lease_token=None,
            attempts=F("attempts") - 1,
            error=reason,
        )
    settled.dead += len(dead)
    _tell_of_dead(dead)


def _tell_of_dead(dead: Mapping[UUID, str]) -> None:
    for event_id, reason in list(dead.items())[:GIVEN_UP_LOGGED]:
        log.error("event given up", extra={"event_id": str(event_id), "reason": reason, "count": len(dead)})


def release(batch: Batch, reason: str = "") -> int:
    """Hands a whole batch back at once, without an attempt: for a stop, or a channel that is away."""
    return settle(batch, confirmed=(), refused={}, channel="", confirm_ms=0, release_reason=reason).released


@started_over
def abandon(batch: Batch, reason: str) -> int:
    """Leaves a batch as a dead relay would, after a publisher raised: one of its events may be why, so all are suspects.

    But nobody holds them: they can be discarded at once.
    """
    wait = _backoff(max(event.attempts for event in batch.events))
    mine = _mine(batch, [event.id for event in batch.events])
    return mine.update(due_at=Now() + wait, lease_token=LEFT_BEHIND, error=reason)


@started_over
def requeue(ids: Collection[UUID]) -> int:
    """Dead or published events become pending again with fresh attempts. Pending ones are left alone: pressing twice is safe."""
    with transaction.atomic():
        return (
            _of(ids)
            .filter(state__in=[_DEAD, _PUBLISHED])
            .update(
                state=_WAITING,
                attempts=0,
                due_at=Now(),
                parked=False,
                discarded=False,
                requeued_at=Now(),
                published_at=None,
                confirm_ms=None,
                channel="",
                error="",
            )
        )


@started_over
def discard(ids: Collection[UUID], reason: str) -> int:
    """Gives up events that nobody holds: dead, with `reason` before what was known, and no longer in the way of their key."""
    idle = Q(state=_WAITING) & (Q(lease_token__isnull=True) | Q(lease_token=LEFT_BEHIND) | Q(due_at__lte=Now()))
    with transaction.atomic():
        changed = (
            _of(ids)
            .filter(idle | Q(state=_DEAD, discarded=False))
            .update(
                state=_DEAD,
                discarded=True,
                lease_token=None,
                parked=False,
                error=Case(
                    When(error="", then=Value(reason, output_field=TextField())),
                    default=Concat(Value(f"{reason} Before: ", output_field=TextField()), F("error")),
                ),
            )
        )
        _release_parked(set(_of(ids).values_list("key", flat=True)))
    return changed


def recall() -> int:
    """Lets waiting events look again that are due later than any can be: the database's clock was ahead, and was set back.

    Some at a time; returns how many. No verb of an operator moves what is pending.
    """
    farthest = 2 * max(settings.OUTBOX_LEASE_SECONDS, settings.OUTBOX_BACKOFF_CAP_SECONDS)
    ahead = OutboxMessage.objects.filter(state=_WAITING, due_at__gt=Now() + timedelta(seconds=farthest))
    return _of(ahead.order_by("due_at").values_list("id", flat=True)[:RECALLED_TOGETHER]).update(due_at=Now())


def _release_parked(keys: Collection[str]) -> None:
    """Lets what waits for these keys look again now."""
    if connection.vendor == "postgresql":
        ordinary.release(keys)
    else:
        OutboxMessage.objects.filter(parked=True, key__in=list(keys)).update(parked=False, due_at=Now())


def _mine(batch: Batch, ids: Iterable[UUID]) -> QuerySet[OutboxMessage]:
    """The fence: those of `ids` that still carry the batch's token."""
    return _of(ids).filter(lease_token=batch.token, state=_WAITING)


def _due(ids: Iterable[UUID]) -> QuerySet[OutboxMessage]:
    """Those of `ids` that are due still: on an engine without SKIP LOCKED somebody may have claimed one meanwhile."""
    return _of(ids).filter(state=_WAITING, due_at__lte=Now())


def _of(ids: Iterable[UUID]) -> QuerySet[OutboxMessage]:
    if connection.vendor == "postgresql":
        return OutboxMessage.objects.filter(AnyOf(F("id"), list(ids)))
    return OutboxMessage.objects.filter(id__in=list(ids))


def _backoff(attempts: int) -> timedelta:
    seconds = retry_policy.backoff_seconds(
        attempts, base=settings.OUTBOX_BACKOFF_BASE_SECONDS, cap=settings.OUTBOX_BACKOFF_CAP_SECONDS
    )
    return timedelta(seconds=seconds)
