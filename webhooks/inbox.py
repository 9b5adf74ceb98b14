"""Record once, claim, settle: the only file that writes inbox rows."""

import hashlib
import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, IntegrityError, InterfaceError, connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from outbox.retry_policy import backoff_seconds
from webhooks.database_trouble import Trouble, database_trouble
from webhooks.models import InboxMessage, ReusedWebhookId
from webhooks.signing import Verified

State = InboxMessage.State
# A result may overtake the event it answers by a moment, or by an outage: it is looked at again when it is this much
# (part of its age) older, within the bounds (seconds). INBOX_UNMATCHED_HOURS ends it.
UNMATCHED_GROWTH, UNMATCHED_MIN_SECONDS, UNMATCHED_MAX_SECONDS = 1.0, 2.0, 7200.0
BACKOFF_BASE_SECONDS, BACKOFF_CAP_SECONDS = 1.0, 300.0
# A result that met a lock or a deadlock comes back after 1 to 3 s: shorter, and one locked transaction keeps a worker busy.
BUSY_SECONDS = 2.0

# Results moved back from the future in one statement.
RECALLED_TOGETHER = 2000


class WebhookIdReusedError(Exception):
    """The id was received before with other bytes; the first stands, these are kept as evidence."""


class LeaseLostError(Exception):
    """Another worker has the row now; whatever was done for it is rolled back."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a delivery: the row's state, and whether this delivery made the row."""

    state: str
    reason: str
    new: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row to apply, under `token`."""

    id: int
    webhook_id: str
    body: bytes
    door: str
    attempts: int
    received_at: datetime
    transaction_id: UUID | None
    token: UUID


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a claimed row. With `wait_seconds` it is due again then. What is None stays as it was."""

    claimed: Claimed
    state: State
    reason: str = ""
    wait_seconds: float | None = None
    transaction_id: UUID | None = None
    type: str | None = None
    attempts: int | None = None


# One round trip decides whether a delivery is new, known or other bytes under a known id (then no row comes back),
# whoever else delivers it at the same instant: the second waits for the first on the unique index.
_RECORD = """
    INSERT INTO webhooks_inboxmessage (webhook_id, sha256, body, key_id, sent_at, door, deliveries, state, reason,
                                       transaction_id, type, attempts)
    VALUES (%s, %s, %s, %s, %s, %s, 1, %s, %s, %s, %s, 0)
    ON CONFLICT (webhook_id) DO UPDATE SET deliveries = webhooks_inboxmessage.deliveries + 1
     WHERE webhooks_inboxmessage.sha256 = EXCLUDED.sha256
    RETURNING state, reason, deliveries
"""


def record(
    verified: Verified,
    body: bytes,
    *,
    door: str,
    state: State,
    reason: str = "",
    transaction_id: UUID | None = None,
    result_type: str = "",
) -> Recorded:
    """Stores a verified delivery once, in one statement. Raises WebhookIdReusedError for a known id with other bytes."""
    digest = hashlib.sha256(body).digest()
    values: list[Any] = [
        verified.webhook_id,
        digest,
        body,
        verified.key_id,
        verified.timestamp,
        door,
        state.value,
        reason,
    ]
    found = _execute_once_more([*values, _stored(transaction_id), result_type])
    if found is None:
        _keep_evidence(verified.webhook_id, digest, body)
        raise WebhookIdReusedError(verified.webhook_id)
    # Only the row that this delivery made counts one delivery.
    return Recorded(found[0], found[1], new=found[2] == 1)


def _execute_once_more(values: list[Any]) -> tuple[str, str, int] | None:
    """Runs _RECORD; when the connection turns out to be dead, again on a new one.

    Instead of Django's health check, a round trip before each delivery for what happens once in a restart. If the first
    try was committed after all, the second counts one delivery too many, and nothing else.
    """
    if connection.in_atomic_block:
        return _execute(values)
    connection.health_check_done = True  # type: ignore[attr-defined]
    try:
        return _execute(values)
    except (DatabaseError, InterfaceError) as error:
        if database_trouble(error) is not Trouble.AWAY:
            raise
        connection.close()
        return _execute(values)


def _execute(values: list[Any]) -> tuple[str, str, int] | None:
    with connection.cursor() as cursor:
        cursor.execute(_RECORD, values)
        found: tuple[str, str, int] | None = cursor.fetchone()
    return found


def _keep_evidence(webhook_id: str, digest: bytes, body: bytes) -> None:
    first = InboxMessage.objects.only("id").filter(webhook_id=webhook_id).first()
    if first is None:
        # Retention took the first in this very moment; there is nothing left to be evidence against.
        return
    try:
        with transaction.atomic():
            ReusedWebhookId.objects.create(first=first, sha256=digest, body=body)
    except IntegrityError:
        ReusedWebhookId.objects.filter(first=first, sha256=digest).update(deliveries=F("deliveries") + 1)


def _stored(value: UUID | None) -> UUID | str | None:
    return value.hex if value and connection.vendor == "sqlite" else value


# One statement, so that a claim costs one round trip and one commit. What a dead worker left behind (a lease that ran
# out) is never mixed with fresh results, and is taken a quarter as many at a time with each death, until the culprit
# dies alone. SQLite has no FOR UPDATE and needs none: the statement itself is the write lock.
_CLAIM = """
    WITH due AS MATERIALIZED (
        SELECT id, due_at, attempts, lease_token IS NOT NULL AS abandoned FROM webhooks_inboxmessage
         WHERE state IN ('received', 'failed', 'unmatched') AND due_at <= {now}
         ORDER BY due_at, id LIMIT %(limit)s {lock}
    ), placed AS (
        SELECT id, attempts, abandoned, row_number() OVER (ORDER BY due_at, id) AS place,
               first_value(abandoned) OVER (ORDER BY due_at, id) AS first_abandoned
          FROM due
    )
    UPDATE webhooks_inboxmessage SET due_at = {until}, lease_token = %(token)s, attempts = attempts + 1
     WHERE id IN (SELECT id FROM placed
                   WHERE abandoned = first_abandoned
                     AND (NOT abandoned OR place = 1 OR (attempts < 8 AND place <= (%(limit)s >> (2 * attempts)))))
    RETURNING id, webhook_id, body, door, attempts, received_at, transaction_id
"""
_NOW = {"postgresql": "statement_timestamp()", "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"}
_LATER = {
    "postgresql": "statement_timestamp() + make_interval(secs => %s)",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')",
}
_LOCK = {"postgresql": "FOR UPDATE SKIP LOCKED", "sqlite": ""}
_CLAIM_SQL = {
    vendor: _CLAIM.format(now=_NOW[vendor], until=_LATER[vendor].replace("%s", "%(lease)s"), lock=_LOCK[vendor])
    for vendor in _NOW
}


def claim(limit: int) -> list[Claimed]:
    """Leases due rows and counts the attempt: a result that kills its worker ends dead like one that raises."""
    token = uuid.uuid4()
    values = {"limit": limit, "token": _stored(token), "lease": settings.INBOX_LEASE_SECONDS}
    rows = [
        Claimed(
            row.id, row.webhook_id, bytes(row.body), row.door, row.attempts, row.received_at, row.transaction_id, token
        )
        for row in InboxMessage.objects.raw(_CLAIM_SQL[connection.vendor], values)
    ]
    return sorted(rows, key=lambda row: row.id)


# Rows as arrays, for which PostgreSQL's plan does not depend on how many they are; SQLite has none.
_ROWS = """unnest(%s::bigint[], %s::uuid[], %s::text[], %s::text[], %s::float8[], %s::uuid[], %s::text[], %s::integer[])
               AS new(id, token, state, reason, wait, transaction_id, type, attempts)"""
_ROW = """SELECT %s AS id, %s AS token, %s AS state, %s AS reason, %s AS wait, %s AS transaction_id, %s AS type,
                 %s AS attempts"""
_SETTLE = """
    UPDATE webhooks_inboxmessage AS row
       SET state = new.state, reason = new.reason, lease_token = NULL,
           applied_at = CASE WHEN new.state = 'applied' THEN {now} END,
           due_at = CASE WHEN new.wait IS NULL THEN row.due_at ELSE {later} END,
           transaction_id = coalesce(new.transaction_id, row.transaction_id),
           type = coalesce(new.type, row.type), attempts = coalesce(new.attempts, row.attempts)
      FROM {rows} WHERE row.id = new.id AND row.lease_token = new.token
"""


def settle(settlements: Sequence[Settlement]) -> None:
    """Writes outcomes, in one statement. Raises LeaseLostError if any row is in other hands: the caller must roll back.

    Call it in the transaction that applies.
    """
    vendor = connection.vendor
    rows = [
        (
            each.claimed.id, _stored(each.claimed.token), each.state.value, each.reason, each.wait_seconds,
            _stored(each.transaction_id), each.type, each.attempts,
        )
        for each in settlements
    ]  # fmt: skip
    values: list[Any] = []
    if vendor == "postgresql":
        source = _ROWS
        values = [list(column) for column in zip(*rows, strict=True)]
    else:
        source = f"({' UNION ALL '.join([_ROW] * len(rows))}) AS new"
        values = [value for row in rows for value in row]
    statement = _SETTLE.format(now=_NOW[vendor], later=_LATER[vendor].replace("%s", "new.wait"), rows=source)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        if cursor.rowcount != len(rows):
            raise LeaseLostError(", ".join(each.claimed.webhook_id for each in settlements))


def unmatched(claimed: Claimed, transaction_id: UUID, now: datetime) -> Settlement:
    """Nothing to apply it to yet: looks again later, and gives up visibly after INBOX_UNMATCHED_HOURS.

    The attempts start anew: waiting is no failure, and must not use up those of a result that then meets one.
    """
    age = (now - claimed.received_at).total_seconds()
    wait = min(max(age * UNMATCHED_GROWTH, UNMATCHED_MIN_SECONDS), UNMATCHED_MAX_SECONDS) * random.uniform(0.8, 1.2)
    over = age >= settings.INBOX_UNMATCHED_HOURS * 3600
    return Settlement(
        claimed,
        State.DEAD if over else State.UNMATCHED,
        "The transaction is unknown, or has not reached that version.",
        wait_seconds=None if over else wait,
        transaction_id=transaction_id,
        attempts=0,
    )


def retry_failed(claimed: Claimed, reason: str) -> State:
    """Applying it raised: backs off with jitter, dead after INBOX_MAX_ATTEMPTS. Raises LeaseLostError."""
    if claimed.attempts >= settings.INBOX_MAX_ATTEMPTS:
        settlement = Settlement(claimed, State.DEAD, reason)
    else:
        # Never at once: full jitter begins at 0, and the same run would use up several attempts.
        backoff = backoff_seconds(claimed.attempts, base=BACKOFF_BASE_SECONDS, cap=BACKOFF_CAP_SECONDS)
        settlement = Settlement(claimed, State.FAILED, reason, wait_seconds=BACKOFF_BASE_SECONDS + backoff)
    settle([settlement])
    return settlement.state


def postpone(claimed: Claimed, reason: str) -> None:
    """The database was busy with this row's transaction: comes back soon, as it was, without an attempt."""
    wait = timedelta(seconds=BUSY_SECONDS * random.uniform(0.5, 1.5))
    InboxMessage.objects.filter(id=claimed.id, lease_token=claimed.token).update(
        due_at=Now() + wait, lease_token=None, attempts=F("attempts") - 1, reason=reason
    )


def release(claimed: Iterable[Claimed]) -> int:
    """Hands rows back at once, without an attempt. Rows that are settled by now are not touched."""
    batch = list(claimed)
    return InboxMessage.objects.filter(
        id__in=[row.id for row in batch], lease_token__in={row.token for row in batch}
    ).update(due_at=Now(), lease_token=None, attempts=F("attempts") - 1)


def recall() -> int:
    """Lets results look again now that are due later than any can be: the database's clock was ahead, and was set back.

    Not the unmatched, which may wait for hours. Some at a time; returns how many.
    """
    farthest = 2 * max(settings.INBOX_LEASE_SECONDS, BACKOFF_BASE_SECONDS + BACKOFF_CAP_SECONDS)
    late = InboxMessage.objects.filter(
        state__in=[State.RECEIVED, State.FAILED], due_at__gt=Now() + timedelta(seconds=farthest)
    )
    ids = list(late.order_by("due_at").values_list("id", flat=True)[:RECALLED_TOGETHER])
    return InboxMessage.objects.filter(id__in=ids, state__in=InboxMessage.WAITING).update(due_at=Now())


def reapply(ids: Iterable[int]) -> int:
    """Settled but unapplied results wait again, with fresh attempts. Applied and noop stay: pressing twice is safe.

    A worker that has one of them loses its lease, and with it whatever it has not committed.
    """
    again = [State.QUARANTINED, State.CONFLICT, State.SUPERSEDED, State.FAILED, State.UNMATCHED, State.DEAD]
    with transaction.atomic():
        return _locked(ids, again).update(
            state=State.RECEIVED, reason="", attempts=0, due_at=Now(), lease_token=None, discarded=False
        )


def discard(ids: Iterable[int], reason: str) -> int:
    """Gives results up that were not applied: dead, with the operator's reason.

    Under a lease too: the one that kills every worker is always leased. The worker's settlement then changes nothing.
    Those that are dead already, and conflicts, keep state and reason; they only stop asking for somebody.
    """
    with transaction.atomic():
        changed = _locked(ids, [*InboxMessage.WAITING, State.QUARANTINED]).update(
            state=State.DEAD, reason=reason, lease_token=None, discarded=True
        )
        return changed + _locked(ids, [State.DEAD, State.CONFLICT]).filter(discarded=False).update(discarded=True)


def _locked(ids: Iterable[int], states: list[State]) -> QuerySet[InboxMessage]:
    """Those of the rows that are in one of `states`, locked in the workers' order, so that nobody deadlocks with one."""
    rows = InboxMessage.objects.filter(id__in=list(ids), state__in=states)
    locked = list(rows.select_for_update().order_by("transaction_id", "id").values_list("id", flat=True))
    return InboxMessage.objects.filter(id__in=locked, state__in=states)
