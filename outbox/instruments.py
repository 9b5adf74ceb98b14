"""What the relay counts and times for Prometheus, and how every room makes its counters.

With METRICS off they are made of nothing: the calls stay and cost a tenth of a microsecond.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

import prometheus_client
from django.conf import settings

from outbox.batch import Settled
from outbox.envelope import StoredEvent
from outbox.publisher import Outcome

# Seconds. From a quick statement to what a client gives up on; the last ones are for waiting, not for working.
SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAITING_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0)


class _Nothing:
    """Stands for a counter or histogram while METRICS is off."""

    def labels(self, *values: str) -> "_Nothing":
        return self

    def inc(self, amount: float = 1) -> None:
        pass

    def observe(self, amount: float) -> None:
        pass


NOTHING = _Nothing()


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Any:
    """A counter. Label values must come from a small set that we know, never from a request."""
    return prometheus_client.Counter(name, text, labels) if settings.METRICS else NOTHING


def histogram(name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS) -> Any:
    """A histogram; the same care with labels, since each value costs all its buckets."""
    return prometheus_client.Histogram(name, text, labels, buckets=buckets) if settings.METRICS else NOTHING


EVENTS = counter("relay_events", "Events by what became of them in a pass.", ["channel", "outcome"])
BATCH = histogram("relay_batch_events", "Events in a batch.", ["channel"], (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))
CONFIRM = histogram("relay_confirm_seconds", "From the first write of a batch to its last confirmation.", ["channel"])
LATENCY = histogram(
    "relay_commit_to_confirmed_seconds",
    "From the commit of an event to its confirmation.",
    ["channel"],
    WAITING_SECONDS,
)
TROUBLE = counter("relay_channel_failures", "Passes in which a channel as a whole failed.", ["channel"])


def batch_settled(
    events: Sequence[StoredEvent], outcome: Outcome, settled: Settled, channel: str, elapsed_seconds: float
) -> None:
    """Once per batch, so that an event costs next to nothing."""
    if not settings.METRICS:
        return
    BATCH.labels(channel).observe(len(events))
    if outcome.confirmed:
        CONFIRM.labels(channel).observe(elapsed_seconds)
        now = time.time()
        waited = [now - event.created_at.timestamp() for event in events if event.id in outcome.confirmed]
        observe_many(LATENCY.labels(channel), waited)
    for name in ("published", "retried", "dead", "released", "lost"):
        count = getattr(settled, name)
        if count:
            EVENTS.labels(channel, name).inc(count)
    if outcome.trouble:
        TROUBLE.labels(channel).inc()


def observe_many(child: Any, values: Iterable[float]) -> None:
    """Many observations at the price of one for each bucket that is met: 500 by `observe` cost milliseconds.

    By the library's own buckets, whose names are private; tests/outbox/test_instruments.py would notice a change.
    """
    bounds: list[float] = child._upper_bounds
    counts, total = [0] * len(bounds), 0.0
    for value in values:
        counts[bisect_left(bounds, value)] += 1
        total += max(0.0, value)
    for bucket, count in zip(child._buckets, counts, strict=True):
        if count:
            bucket.inc(count)
    child._sum.inc(total)
