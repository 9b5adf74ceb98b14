"""Decides each event once: event row, newest version and result rows in one database transaction."""

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from processing import results, rules, tracing
from processing.events import CANCELED, ParsedEvent
from processing.models import Event, Result, SeenTransaction

log = logging.getLogger("consumer.handler")

UNPROCESSED = (Event.State.RECEIVED, Event.State.QUARANTINED)


@dataclass(frozen=True)
class Handled:
    """What became of an event, and which results are to be delivered now, oldest first."""

    state: str
    duplicate: bool
    result_ids: list[int] = field(default_factory=list)


def handle(event: ParsedEvent, door: str) -> Handled:
    """Processes an event, whichever door it came by and however often. Safe to call at once from several processes.

    A known event is not decided again: its stored result goes out again, with the same webhook-id and bytes, because
    the Producer sends an event again only when it lacks the result.
    """
    about = tracing.about(request_id=event.request_id, event_id=event.id, transaction_id=event.transaction_id)
    with about, tracing.span(f"process {event.type}", "consumer", event.traceparent) as traceparent:
        return _handle(replace(event, traceparent=traceparent), door)


def _handle(event: ParsedEvent, door: str) -> Handled:
    now = timezone.now()
    with transaction.atomic():
        row, created = Event.objects.select_for_update().get_or_create(
            event_id=event.id,
            defaults={"door": door, "state": Event.State.RECEIVED, "next_attempt_at": now, "received_at": now},
        )
        if not created and row.state not in UNPROCESSED:
            handled = Handled(row.state, True, note_duplicate(row, now))
        else:
            handled = Handled(*_decide(row, event, now))
    log.info(
        "event %s transaction %s version %d by %s: %s%s",
        event.id,
        event.transaction_id,
        event.sequence,
        door,
        handled.state,
        " (duplicate)" if handled.duplicate else "",
    )
    return handled


def note_duplicate(row: Event, now: datetime) -> list[int]:
    """Counts the copy and opens its results again; call it inside a transaction that holds the row.

    An open lease is broken: a broker redelivers when the first owner died, and waiting for its lease would only delay.
    If that owner lives after all, the copies are equal and the Producer drops one.
    """
    row.deliveries += 1
    row.save(update_fields=["deliveries"])
    row.results.exclude(state=Result.State.SUPERSEDED).update(
        state=Result.State.PENDING, rounds=0, next_attempt_at=now, leased_until=None, lease_token=""
    )
    return list(row.results.filter(state=Result.State.PENDING).order_by("id").values_list("id", flat=True))


def _decide(row: Event, event: ParsedEvent, now: datetime) -> tuple[str, bool, list[int]]:
    seen, _ = SeenTransaction.objects.select_for_update().get_or_create(
        transaction_id=event.transaction_id, defaults={"seen_at": now}
    )
    result_ids: list[int] = []
    if event.sequence <= seen.last_sequence:
        state, reason = Event.State.STALE, f"version {seen.last_sequence} was seen before"
    else:
        # The Producer has the newer version, so a result for an older one would only be answered with `superseded`.
        Result.objects.filter(transaction_id=event.transaction_id, state=Result.State.PENDING).update(
            state=Result.State.SUPERSEDED, leased_until=None, lease_token=""
        )
        seen.last_sequence, seen.seen_at, seen.canceled = event.sequence, now, event.type == CANCELED
        if event.txn is None:
            state, reason = Event.State.RECORDED, ""
        else:
            state, reason = Event.State.DECIDED, ""
            seen.fingerprint = rules.fingerprint(event.txn)
            verdict = rules.decide(
                event.txn, now, rules.Limits(settings.REVIEW_LIMITS, settings.HARD_LIMITS), _twin(seen, now)
            )
            bodies = [(results.final_type(verdict), results.final_body(event, event.txn, verdict, now))]
            if settings.SEND_PROCESSING:
                bodies.insert(0, (results.PROCESSING, results.processing_body(event, now)))
            result_ids = [_result(row, event, kind, body, now) for kind, body in bodies]
        seen.save()
    row.type, row.transaction_id, row.sequence = event.type, event.transaction_id, event.sequence
    row.state, row.reason, row.body, row.leased_until, row.processed_at = state, reason, b"", None, now
    row.save()
    return str(state), False, result_ids


def _twin(seen: SeenTransaction, now: datetime) -> str | None:
    """Another transaction within the window that looks the same and still stands."""
    return (
        SeenTransaction.objects.filter(
            fingerprint=seen.fingerprint, canceled=False, seen_at__gte=now - rules.TWIN_WINDOW
        )
        .exclude(transaction_id=seen.transaction_id)
        .order_by("seen_at")
        .values_list("transaction_id", flat=True)
        .first()
    )


def _result(row: Event, event: ParsedEvent, kind: str, body: str, now: datetime) -> int:
    """The id is random and not derived from the event: a Consumer that lost its database decides with other bytes."""
    return Result.objects.create(
        webhook_id=f"res_{uuid4().hex}",
        event=row,
        transaction_id=event.transaction_id,
        transaction_version=event.sequence,
        type=kind,
        body=body,
        next_attempt_at=now,
        created_at=now,
    ).pk
