"""create, update, cancel, apply_results: each writes row, history and event in one database transaction."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from outbox import services as outbox
from outbox.clock import database_now
from transactions import applying, events, writing
from transactions.drafts import Draft
from transactions.idempotency import Answer, Claim
from transactions.models import HistoryEntry, Transaction
from transactions.parsing import canonical
from transactions.problems import ProblemError
from transactions.resending import send_again
from transactions.serializers import dumps, represent
from transactions.states import TERMINAL, Status, Verdict, judge_result

# Part of this door: what webhooks hands to apply_results.
Result = applying.Result


def create(
    claim: Claim,
    answer: Answer,
    drafts: Sequence[Draft],
    traceparent: str | None = None,
    api_key_id: int | None = None,
) -> bool:
    """Writes new transactions, all or nothing: rows, histories, events, the key with its answer.

    False, and nothing is written, when the key was used before. Raises IntegrityError when an external_id exists
    (`find_external_id` tells which has it), ProblemError 409 when the key is in flight elsewhere, KeyRefusedError when
    an `api_key_id` is given that is not good (any more).
    """
    return writing.insert(claim, answer, drafts, events.created(drafts, traceparent), api_key_id)


def find_external_id(client_id: int, drafts: Sequence[Draft]) -> UUID | None:
    """After an IntegrityError and its rollback: the transaction that has an external_id of `drafts` already."""
    wanted = [draft.external_id for draft in drafts if draft.external_id is not None]
    return Transaction.objects.filter(client_id=client_id, external_id__in=wanted).values_list("id", flat=True).first()


def lock_pending(txn: Transaction) -> None:
    """Raises ProblemError 409 `state-conflict` unless the (locked) transaction is pending."""
    if txn.status != Status.PENDING.value:
        raise ProblemError(
            "state-conflict",
            f"The transaction is {txn.status}; only a pending one can be changed or canceled.",
            extra={"transaction_status": txn.status},
        )


def update(txn: Transaction, values: Mapping[str, Any], traceparent: str | None = None, by: str = "client") -> bool:
    """Changes a locked, pending transaction. False, and nothing is written, when `values` change nothing.

    Raises IntegrityError when another transaction of the client has the external_id.
    """
    changed = [name for name, value in values.items() if _differs(getattr(txn, name), value)]
    if not changed:
        return False
    for name in changed:
        setattr(txn, name, values[name])
    _next_version(txn)
    txn.save(update_fields=[*changed, "version", "updated_at", "check_at"])
    _tell(events.UPDATED, txn, traceparent, by)
    return True


def _differs(old: Any, new: Any) -> bool:
    # To Python {"paid": 1} equals {"paid": true}; to JSON it does not.
    return canonical(old) != canonical(new) if isinstance(new, dict) else bool(old != new)


def cancel(txn: Transaction, traceparent: str | None = None, by: str = "client") -> bool:
    """Cancels a locked transaction. False when it is canceled already; ProblemError 409 when it is past pending."""
    if txn.status == Status.CANCELED.value:
        return False
    lock_pending(txn)
    txn.status = Status.CANCELED.value
    _next_version(txn)
    txn.overdue = False
    txn.save(update_fields=["status", "version", "updated_at", "check_at", "overdue"])
    _tell(events.CANCELED, txn, traceparent, by)
    return True


def apply_results(results: Sequence[Result]) -> list[Verdict]:
    """Judges results against their locked rows and applies them once, in the order given; returns the verdicts in it.

    Runs in the transaction that settles the inbox rows. Leaves `version` alone; changes status, updated_at, for an outcome
    processed_at. No history for an unmatched one.
    """
    locked = applying.lock({result.transaction_id for result in results})
    verdicts, judged = [], []
    for result in results:
        found = locked.get(result.transaction_id)
        verdict = judge_result(
            current_status=found.status if found else None,
            current_version=found.version if found else None,
            result_type=result.type,
            result_version=result.transaction_version,
            transaction_known=found is not None,
        )
        verdicts.append(verdict)
        if found is None or verdict is Verdict.UNMATCHED:
            continue
        now = max(datetime.now(UTC), found.updated_at + timedelta(microseconds=1))
        judged.append(applying.Judged(result, verdict, found.version, now))
        if verdict is Verdict.APPLY:
            # What the next result for this transaction finds.
            status = judged[-1].status.value
            locked[result.transaction_id] = applying.Locked(status, found.version, now)
    applying.write(judged)
    return verdicts


def history(txn: Transaction) -> list[dict[str, Any]]:
    """What happened to a transaction, oldest first: changes, events with their deliveries, results."""
    entries: list[tuple[datetime, int, dict[str, Any]]] = []
    for row in txn.history.order_by("id"):
        if row.kind == HistoryEntry.Kind.CHANGE:
            entries.append(
                (
                    row.at,
                    0,
                    {"kind": "change", "at": row.at, "version": row.version, "status": row.status, "by": row.by},
                )
            )
        else:
            shown = {"webhook_id": row.webhook_id, "type": row.type, "state": row.state, "door": row.door}
            entries.append((row.at, 2, {"kind": "result", "at": row.at, **shown}))
    for event in outbox.history(str(txn.id)):
        entries.append(
            (
                event.created_at,
                1,
                {
                    "kind": "event",
                    "at": event.created_at,
                    "event_id": str(event.id),
                    "type": event.type,
                    "state": event.state,
                    "channel": event.channel,
                    "delivered_at": event.delivered_at,
                    "attempts": event.attempts,
                },
            )
        )
    # The event of a change has an id made just after the change; equal times keep change, event, result.
    return [entry for _, _, entry in sorted(entries, key=lambda item: (item[0], item[1]))]


def _next_version(txn: Transaction) -> None:
    txn.version += 1
    txn.updated_at = _now_after(txn)
    txn.check_at = (
        None if txn.status in TERMINAL else txn.updated_at + timedelta(seconds=settings.RESULT_DEADLINE_SECONDS)
    )


def _now_after(txn: Transaction, now: datetime | None = None) -> datetime:
    """Now, but after the last change: the ETag is made of it, and clocks step back."""
    return max(now or datetime.now(UTC), txn.updated_at + timedelta(microseconds=1))


def _tell(event_type: str, txn: Transaction, traceparent: str | None, by: str) -> None:
    HistoryEntry.of_change(txn, by).save(force_insert=True)
    outbox.enqueue([events.change_event(event_type, txn, dumps(represent(txn)), traceparent)])


def mark_overdue(limit: int = 200) -> int:
    """Flags transactions whose result is late, and sends their newest event again, ever more seldom.

    Returns how many were looked at. Safe to run twice at once: each row is locked, and its next look is in the future.
    A handful of statements for all of them, because a client's change or a result waits as long as the locks are held.
    """
    with transaction.atomic():
        now = database_now()
        rows = list(
            Transaction.objects.select_for_update(skip_locked=True)
            .filter(status__in=[Status.PENDING.value, Status.PROCESSING.value], check_at__lte=now)
            .only("id", "status", "overdue", "resends", "updated_at")
            .order_by("check_at")[:limit]
        )
        sent = send_again(rows)
        for txn in rows:
            if not txn.overdue:
                txn.overdue, txn.updated_at = True, _now_after(txn, now)
            # Nothing is more seldom because of what was not sent.
            txn.resends += txn.id in sent
            txn.check_at = now + timedelta(seconds=settings.RESULT_DEADLINE_SECONDS * 2 ** min(txn.resends, 6))
        Transaction.objects.bulk_update(rows, ["overdue", "updated_at", "resends", "check_at"])
    return len(rows)
