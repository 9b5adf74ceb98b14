"""Event names and payloads for each change; pure."""

from outbox.services import Event, JsonText
from transactions.drafts import Draft
from transactions.models import Transaction

TOPIC = "transactions"
CREATED = "transaction.created"
UPDATED = "transaction.updated"
CANCELED = "transaction.canceled"


def change_event(event_type: str, txn: Transaction | Draft, shown: str, traceparent: str | None) -> Event:
    """The event for one change: the whole transaction as it now is (`shown`, JSON); `sequence` is its version."""
    return Event(
        topic=TOPIC,
        type=event_type,
        key=str(txn.id),
        sequence=txn.version,
        data=JsonText(f'{{"transaction":{shown}}}'),
        traceparent=traceparent,
    )
