"""Deletes settled results past their retention, in batches; waiting and dead ones stay."""

from datetime import timedelta

from django.conf import settings

from outbox.clock import database_now
from webhooks.models import InboxMessage

BATCH = 2000


def prune_once(keep_days: int | None = None) -> int:
    """One batch; returns how many rows went."""
    before = database_now() - timedelta(days=settings.INBOX_KEEP_DAYS if keep_days is None else keep_days)
    settled = ["applied", "noop", "superseded"]
    ids = list(
        InboxMessage.objects.filter(state__in=settled, received_at__lt=before)
        .order_by("id")
        .values_list("id", flat=True)[:BATCH]
    )
    return InboxMessage.objects.filter(id__in=ids, state__in=settled).delete()[0]
