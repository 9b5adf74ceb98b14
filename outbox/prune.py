"""Deletes published events past their retention, in batches, oldest first."""

from datetime import timedelta

from django.conf import settings

from outbox.clock import database_now
from outbox.models import OutboxMessage

# Rows in one DELETE: short enough to hold no lock for long.
BATCH = 5000


def prune_once(keep_days: int | None = None) -> int:
    """One batch; returns how many rows went. Pending and dead events are never touched."""
    before = database_now() - timedelta(days=settings.OUTBOX_KEEP_DAYS if keep_days is None else keep_days)
    ids = list(
        OutboxMessage.objects.filter(state="published", published_at__lt=before)
        .order_by("published_at")
        .values_list("id", flat=True)[:BATCH]
    )
    return OutboxMessage.objects.filter(id__in=ids, state="published").delete()[0]
