"""Deletes settled results past their retention, in batches; waiting and dead ones stay."""

from datetime import timedelta

from django.conf import settings

from outbox.clock import database_now
from webhooks.models import InboxMessage

BATCH = 2000


def prune_once(keep_days: int | None = None) -> int:
    """One batch; returns how many rows went.

    Ids count up as results come, so the first settled ones are the oldest: no look reads all that is kept, to find that there is
    nothing to do.
    """
    before = database_now() - timedelta(days=settings.INBOX_KEEP_DAYS if keep_days is None else keep_days)
    settled = ["applied", "noop", "superseded"]
    oldest = InboxMessage.objects.filter(state__in=settled).order_by("id").values_list("id", "received_at")[:BATCH]
    ids = [row_id for row_id, received_at in oldest if received_at < before]
    return InboxMessage.objects.filter(id__in=ids, state__in=settled).delete()[0]
