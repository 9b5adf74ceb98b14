"""Event names and payloads for each change; pure."""

from collections.abc import Sequence

from outbox.ids import uuid7s
from outbox.services import Event, JsonText
from transactions.drafts import Draft
from transactions.models import Transaction

TOPIC = "transactions"
CREATED = "transaction.created"
UPDATED = "transaction.updated"
CANCELED = "transaction.canceled"


def created(drafts: Sequence[Draft], traceparent: str | None) -> list[Event]:
    """An event for each new transaction."""
    return [
        Event(
            TOPIC, CREATED, draft.key, draft.version, JsonText(f'{{"transaction":{draft.text}}}'), traceparent, event_id
        )
        for draft, event_id in zip(drafts, uuid7s(len(drafts)), strict=True)
    ]


def change_event(event_type: str, txn: Transaction, shown: str, traceparent: str | None) -> Event:
    """The event for one change: the whole transaction as it now is (`shown`, JSON); `sequence` is its version."""
    return Event(
        topic=TOPIC,
        type=event_type,
        key=str(txn.id),
        sequence=txn.version,
        data=JsonText(f'{{"transaction":{shown}}}'),
        traceparent=traceparent,
    )
