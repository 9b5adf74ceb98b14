"""Why results are not applied; read-only, at a bounded price."""

from collections import Counter

from outbox.trends import REASON_LENGTH, REASONS_AMONG
from webhooks.models import InboxMessage


def reasons() -> Counter[tuple[str, str]]:
    """(state, reason) of the newest results that need somebody, or failed and are tried again."""
    stuck = InboxMessage.objects.filter(state__in=["dead", "quarantined", "conflict"], discarded=False)
    failing = InboxMessage.objects.filter(state="failed")
    rows = [
        row for rows in (stuck, failing) for row in rows.order_by("-id").values_list("state", "reason")[:REASONS_AMONG]
    ]
    return Counter((state, reason[:REASON_LENGTH]) for state, reason in rows)
