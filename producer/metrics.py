"""/metrics for Prometheus: numbers read from the stats at scrape time, so no process needs to share counters."""

from collections.abc import Iterator

from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from outbox.stats import channel_stats, outbox_stats
from producer.methods import read_only
from webhooks.stats import inbox_stats


class DatabaseCollector:
    """Gauges of outbox, inbox and channels."""

    def collect(self) -> Iterator[Metric]:
        """Called once per scrape."""
        outbox = outbox_stats()
        yield GaugeMetricFamily("outbox_pending", "Events that wait for delivery.", value=outbox.pending)
        yield GaugeMetricFamily(
            "outbox_oldest_age_seconds", "Age of the oldest waiting event.", value=outbox.oldest_age_seconds
        )
        yield GaugeMetricFamily("outbox_dead", "Events given up; an operator decides.", value=outbox.dead)
        yield GaugeMetricFamily(
            "outbox_published_last_minute", "Events delivered in the last minute.", value=outbox.published_last_minute
        )
        failing = GaugeMetricFamily("outbox_channel_failing_seconds", "Since when a channel fails.", labels=["channel"])
        disabled = GaugeMetricFamily(
            "outbox_channel_disabled", "1 when the receiver said 410 Gone.", labels=["channel"]
        )
        for channel in channel_stats():
            failing.add_metric([channel.name], channel.failing_seconds)
            disabled.add_metric([channel.name], float(channel.disabled))
        yield failing
        yield disabled
        inbox = inbox_stats()
        states = GaugeMetricFamily("inbox_results", "Results that are not settled or need somebody.", labels=["state"])
        for state in ("waiting", "unmatched", "quarantined", "dead", "conflict"):
            states.add_metric([state], getattr(inbox, state))
        yield states
        yield GaugeMetricFamily(
            "inbox_oldest_age_seconds", "Age of the oldest waiting result.", value=inbox.oldest_age_seconds
        )


@read_only
def metrics(request: HttpRequest) -> HttpResponse:
    """The exposition text."""
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
