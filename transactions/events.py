"""Event names and payloads for each change; pure."""

from typing import Any

from outbox.services import Event
from transactions.drafts import Draft
from transactions.models import Transaction

TOPIC = "transactions"
CREATED = "transaction.created"
UPDATED = "transaction.updated"
CANCELED = "transaction.canceled"


def change_event(
    event_type: str, txn: Transaction | Draft, representation: dict[str, Any], traceparent: str | None
) -> Event:
    """The event for one change: the whole transaction as it now is; `sequence` is its version."""
    return Event(
        topic=TOPIC,
        type=event_type,
        key=representation["id"],
        sequence=txn.version,
        data={"transaction": representation},
        traceparent=traceparent,
    )
