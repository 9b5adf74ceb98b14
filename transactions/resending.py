"""Sends the newest event of transactions once more, whoever asks: the overdue sweep or an operator."""

from collections.abc import Sequence
from uuid import UUID

from outbox import services as outbox
from transactions import events
from transactions.models import Transaction
from transactions.serializers import dumps, represent
from transactions.states import TERMINAL


def send_again(txns: Sequence[Transaction], *, by_hand: bool = False) -> dict[UUID, UUID]:
    """Sends the newest event of each locked transaction again, same id and bytes; returns which event of which.

    What waits to be sent anyway is left alone, and what is dead unless `by_hand`. An event whose retention ended is gone with
    its id: `by_hand`, and while the transaction waits for a result, a new one tells the version that it has. Never by itself: a
    Consumer that knows copies by their id alone, and had worked on the first, would do it again.
    """
    found = outbox.resend_latest([str(txn.id) for txn in txns], dead_too=by_hand)
    sent = {txn.id: event_id for txn in txns if (event_id := found.get(str(txn.id)))}
    gone = [txn.id for txn in txns if by_hand and str(txn.id) not in found and txn.status not in TERMINAL]
    if gone:
        # In full: the caller may hold but a few of their columns.
        told = [
            events.change_event(
                events.CREATED if txn.version == 1 else events.UPDATED, txn, dumps(represent(txn)), traceparent=None
            )
            for txn in Transaction.objects.filter(id__in=gone).order_by("id")
        ]
        outbox.enqueue(told)
        sent |= {UUID(event.key): event.id for event in told}
    return sent
