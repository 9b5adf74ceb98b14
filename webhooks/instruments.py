"""What the door for results, the inbox and the fallback's sender count and time for Prometheus."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.conf import settings

from outbox.instruments import WAITING_SECONDS, counter, histogram, observe_many

RECEIVED = counter("webhook_results_received", "Results taken in, by door and first state.", ["door", "state"])
SETTLED = counter("inbox_results_settled", "Results looked at by a worker, by what became of them.", ["state"])
SETTLE_LATENCY = histogram(
    "inbox_received_to_settled_seconds",
    "From the receipt of a result to a worker's look at it.",
    buckets=WAITING_SECONDS,
)
SENT = counter("fallback_posts", "POSTs of events to the Consumer's webhook, by answer.", ["answer"])
SENT_SECONDS = histogram("fallback_post_seconds", "How long the Consumer's webhook takes to answer.")


def looked_at(received_at: Sequence[datetime], counts: Mapping[str, int]) -> None:
    """Once per batch of results, whatever became of them."""
    if not settings.METRICS:
        return
    for state, count in counts.items():
        SETTLED.labels(state).inc(count)
    now = time.time()
    observe_many(SETTLE_LATENCY, [now - moment.timestamp() for moment in received_at])
