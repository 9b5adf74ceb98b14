"""What operators may do to transactions. Each is one database transaction and safe to press twice."""

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction

from transactions import services
from transactions.models import Transaction
from transactions.resending import send_again
from transactions.states import Status


def cancel(ids: Iterable[UUID]) -> list[UUID]:
    """Cancels those that are pending, with history and event as when their client does; returns which."""
    with transaction.atomic():
        # In the order of the workers that apply results, who lock several too.
        rows = Transaction.objects.select_for_update().filter(id__in=list(ids)).order_by("id")
        return [txn.id for txn in rows if txn.status == Status.PENDING.value and services.cancel(txn, by="operator")]


def resend(ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """Sends the newest event of each once more; returns which event of which transaction.

    One that waits to be sent anyway is left alone, and one that somebody discarded.
    """
    with transaction.atomic():
        rows = Transaction.objects.select_for_update().filter(id__in=list(ids)).order_by("id")
        return send_again(list(rows), by_hand=True)
