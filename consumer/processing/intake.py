"""Stores an authentic fallback POST once: the row is durable before the answer, the work comes later."""

from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from processing import handler
from processing.events import BadEventError, ParsedEvent, decode, parse
from processing.models import Event


@dataclass(frozen=True)
class Stored:
    """Whether the POST was new, and the state of its row."""

    new: bool
    state: str
    problem: str = ""


def store(webhook_id: str, body: bytes) -> Stored:
    """After a good signature the event is ours: what cannot be read is kept for a person, and not refused."""
    event, problem = _read(webhook_id, body)
    now = timezone.now()
    with transaction.atomic():
        row, created = Event.objects.select_for_update().get_or_create(
            event_id=webhook_id,
            defaults={
                "door": Event.Door.WEBHOOK,
                "state": Event.State.RECEIVED if event else Event.State.QUARANTINED,
                "type": event.type if event else "",
                "transaction_id": event.transaction_id if event else "",
                "sequence": event.sequence if event else 0,
                "reason": problem,
                "body": body,
                "next_attempt_at": now,
                "received_at": now,
            },
        )
        if created:
            return Stored(True, row.state, problem)
        if row.state == Event.State.QUARANTINED and event:
            row.state, row.reason, row.body, row.next_attempt_at = Event.State.RECEIVED, "", body, now
            row.save(update_fields=["state", "reason", "body", "next_attempt_at"])
        handler.note_duplicate(row, now)
        return Stored(False, row.state)


def _read(webhook_id: str, body: bytes) -> tuple[ParsedEvent | None, str]:
    try:
        event = parse(decode(body))
    except BadEventError as error:
        return None, str(error)
    if event.id != webhook_id:
        return None, "the id of the event is not the webhook-id"
    return event, ""
