"""Record once, claim, settle: the only file that writes inbox rows."""

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from outbox.clock import database_now
from outbox.retry_policy import backoff_seconds, schedule_seconds
from webhooks.models import InboxMessage, ReusedWebhookId
from webhooks.signing import Verified

State = InboxMessage.State
# A result may overtake the event it answers by a moment, or by an outage (seconds); INBOX_UNMATCHED_HOURS ends it.
UNMATCHED_SCHEDULE_SECONDS = (2, 10, 60, 300, 1800, 7200)
BACKOFF_BASE_SECONDS, BACKOFF_CAP_SECONDS = 1.0, 300.0


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
    token: UUID


_INSERT = """
    INSERT INTO webhooks_inboxmessage (webhook_id, sha256, body, key_id, sent_at, door, deliveries, state, reason,
                                       transaction_id, type, attempts)
    VALUES (%s, %s, %s, %s, %s, %s, 1, %s, %s, %s, %s, 0) ON CONFLICT (webhook_id) DO NOTHING
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
    """Stores a verified delivery once: one INSERT for a new id, one UPDATE for a known one.

    Raises WebhookIdReusedError for a known id with other bytes.
    """
    digest = hashlib.sha256(body).digest()
    stored_id = transaction_id.hex if transaction_id and connection.vendor == "sqlite" else transaction_id
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            [
                verified.webhook_id,
                digest,
                body,
                verified.key_id,
                verified.timestamp,
                door,
                state.value,
                reason,
                stored_id,
                result_type,
            ],
        )
        if cursor.rowcount:
            return Recorded(state.value, reason, new=True)
    again = InboxMessage.objects.filter(webhook_id=verified.webhook_id, sha256=digest)
    if again.update(deliveries=F("deliveries") + 1):
        found_state, found_reason = again.values_list("state", "reason").get()
        return Recorded(found_state, found_reason, new=False)
    _keep_evidence(verified.webhook_id, digest, body)
    raise WebhookIdReusedError(verified.webhook_id)


def _keep_evidence(webhook_id: str, digest: bytes, body: bytes) -> None:
    first = InboxMessage.objects.only("id").get(webhook_id=webhook_id)
    try:
        with transaction.atomic():
            ReusedWebhookId.objects.create(first=first, sha256=digest, body=body)
    except IntegrityError:
        ReusedWebhookId.objects.filter(first=first, sha256=digest).update(deliveries=F("deliveries") + 1)


def claim(limit: int) -> list[Claimed]:
    """Leases due rows and counts the attempt: a result that kills its worker ends dead like one that raises.

    Rows that a dead worker left behind are taken few at a time, so that the culprit is found and its neighbours go on.
    """
    with transaction.atomic():
        now = database_now()
        rows = list(
            InboxMessage.objects.filter(state__in=InboxMessage.WAITING, due_at__lte=now)
            .order_by("due_at", "id")
            .select_for_update(skip_locked=True)
            .values_list("id", "webhook_id", "body", "door", "attempts", "received_at", "lease_token")[:limit]
        )
        if rows and rows[0][6] is not None:
            rows = rows[: max(1, limit // 4 ** rows[0][4])]
        token = uuid.uuid4()
        taken = InboxMessage.objects.filter(
            id__in=[row[0] for row in rows], state__in=InboxMessage.WAITING, due_at__lte=now
        ).update(
            due_at=now + timedelta(seconds=settings.INBOX_LEASE_SECONDS), lease_token=token, attempts=F("attempts") + 1
        )
        if taken != len(rows):
            mine = set(InboxMessage.objects.filter(lease_token=token).values_list("id", flat=True))
            rows = [row for row in rows if row[0] in mine]
    return [Claimed(row[0], row[1], bytes(row[2]), row[3], row[4] + 1, row[5], token) for row in rows]


def settle(claimed: Claimed, state: State, reason: str = "", **fields: Any) -> None:
    """Writes the outcome of a claimed row. Call it in the transaction that applies. Raises LeaseLostError."""
    changed = InboxMessage.objects.filter(id=claimed.id, lease_token=claimed.token).update(
        state=state,
        reason=reason,
        lease_token=None,
        applied_at=database_now() if state == State.APPLIED else None,
        **fields,
    )
    if not changed:
        raise LeaseLostError(claimed.webhook_id)


def retry_unmatched(claimed: Claimed, reason: str) -> State:
    """Nothing to apply it to yet: looks again later, and gives up visibly after INBOX_UNMATCHED_HOURS."""
    now = database_now()
    if now - claimed.received_at >= timedelta(hours=settings.INBOX_UNMATCHED_HOURS):
        settle(claimed, State.DEAD, reason)
        return State.DEAD
    wait = schedule_seconds(claimed.attempts, UNMATCHED_SCHEDULE_SECONDS)
    settle(claimed, State.UNMATCHED, reason, due_at=now + timedelta(seconds=wait))
    return State.UNMATCHED


def retry_failed(claimed: Claimed, reason: str) -> State:
    """Applying it raised: backs off with full jitter, dead after INBOX_MAX_ATTEMPTS."""
    if claimed.attempts >= settings.INBOX_MAX_ATTEMPTS:
        settle(claimed, State.DEAD, reason)
        return State.DEAD
    wait = backoff_seconds(claimed.attempts, base=BACKOFF_BASE_SECONDS, cap=BACKOFF_CAP_SECONDS)
    settle(claimed, State.FAILED, reason, due_at=database_now() + timedelta(seconds=wait))
    return State.FAILED


def release(claimed: Iterable[Claimed]) -> int:
    """Hands rows back at once, without an attempt."""
    ids = [item.id for item in claimed]
    tokens = {item.token for item in claimed}
    return InboxMessage.objects.filter(id__in=ids, lease_token__in=tokens).update(
        due_at=database_now(), lease_token=None, attempts=F("attempts") - 1
    )


def reapply(ids: Iterable[int]) -> int:
    """Settled but unapplied results wait again, with fresh attempts. Applied and noop stay: pressing twice is safe."""
    again = [State.QUARANTINED, State.CONFLICT, State.SUPERSEDED, State.FAILED, State.UNMATCHED, State.DEAD]
    return InboxMessage.objects.filter(id__in=list(ids), state__in=again, lease_token=None).update(
        state=State.RECEIVED, reason="", attempts=0, due_at=database_now()
    )


def discard(ids: Iterable[int], reason: str) -> int:
    """Gives results up that still wait or are quarantined: dead, with the operator's reason."""
    states = [*InboxMessage.WAITING, State.QUARANTINED]
    return InboxMessage.objects.filter(id__in=list(ids), state__in=states, lease_token=None).update(
        state=State.DEAD, reason=reason
    )
