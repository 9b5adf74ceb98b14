"""/metrics for Prometheus: what the database knows, and what the processes have counted."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from outbox.stats import outbox_stats, parked_count
from producer import condition, metric_files
from producer.lights_processes import KINDS
from producer.methods import read_only
from transactions.stats import overdue_count
from webhooks.stats import inbox_stats, refusal_stats

_LEVELS = {"ok": 0, "warn": 1, "bad": 2}


class DatabaseCollector:
    """What every process knows alike because it is in the database; so these survive every restart."""

    def collect(self) -> Iterator[Metric]:
        """Called once per scrape. With the database away it says so, and the rest of the page still comes."""
        up, self._scene = 1.0, condition.Scene()
        try:
            yield from self._outbox()
            yield from self._processes()
            yield from self._queues()
            yield from self._inbox()
            yield GaugeMetricFamily("transactions_overdue", "Without a result in time.", value=overdue_count())
        except (DatabaseError, InterfaceError):
            up = 0.0
            if not connection.in_atomic_block:
                connection.close()
        yield GaugeMetricFamily("database_up", "1 when the database answered this scrape.", value=up)
        lights = GaugeMetricFamily("condition", "Lights of the dashboard: 0 green, 1 amber, 2 red.", labels=["light"])
        for light in condition.current(self._scene):
            lights.add_metric([light.id], _LEVELS[light.level])
        yield lights

    def _outbox(self) -> Iterator[Metric]:
        outbox = outbox_stats()
        yield GaugeMetricFamily("outbox_pending", "Events that wait for delivery.", value=outbox.pending)
        yield GaugeMetricFamily(
            "outbox_oldest_age_seconds",
            "How long the oldest waiting event waits: since it was made, or requeued.",
            value=outbox.oldest_age_seconds,
        )
        yield GaugeMetricFamily("outbox_parked", "Events that wait for an earlier one.", value=parked_count())
        yield GaugeMetricFamily("outbox_dead", "Events given up; an operator decides.", value=outbox.dead)
        yield GaugeMetricFamily(
            "outbox_published_last_minute", "Events delivered in the last minute.", value=outbox.published_last_minute
        )
        failing = GaugeMetricFamily("outbox_channel_failing_seconds", "Since when a channel fails.", labels=["channel"])
        disabled = GaugeMetricFamily(
            "outbox_channel_disabled", "1 when the receiver said 410 Gone.", labels=["channel"]
        )
        for channel in self._scene.states.channels:
            failing.add_metric([channel.name], channel.failing_seconds)
            disabled.add_metric([channel.name], float(channel.disabled))
        yield failing
        yield disabled

    def _processes(self) -> Iterator[Metric]:
        known = self._scene.processes
        alive = self._scene.alive
        living = GaugeMetricFamily("processes_alive", "Processes that spoke lately.", labels=["kind"])
        cut_off = GaugeMetricFamily("processes_suffering", "Those that live and complain.", labels=["kind"])
        silent = GaugeMetricFamily(
            "process_silent_seconds",
            "Since the last word of any process of a kind; a dead beat does not tick.",
            labels=["kind"],
        )
        for kind in KINDS:
            living.add_metric([kind], sum(process.kind == kind for process in alive))
            cut_off.add_metric([kind], sum(process.kind == kind and bool(process.note) for process in alive))
            words = [process.silent_seconds for process in known if process.kind == kind]
            if words:
                silent.add_metric([kind], min(words))
        yield from (living, cut_off, silent)
        _, offset, seconds = self._scene.clock
        off = max([abs(offset), *[abs(process.clock_offset_seconds) for process in alive]])
        yield GaugeMetricFamily("clock_offset_seconds", "The largest distance from the database's clock.", value=off)
        slowest = max([seconds, *[process.database_seconds for process in alive]])
        yield GaugeMetricFamily("database_statement_seconds", "The slowest of the processes' last ones.", value=slowest)

    def _queues(self) -> Iterator[Metric]:
        messages = GaugeMetricFamily("queue_messages", "Messages that wait in a queue.", labels=["queue"])
        consumers = GaugeMetricFamily("queue_consumers", "Who reads a queue.", labels=["queue"])
        age = GaugeMetricFamily("queue_seen_seconds", "How old the two numbers are.", labels=["queue"])
        remade = GaugeMetricFamily(
            "queue_remade_timestamp_seconds", "When it was found missing and declared anew.", labels=["queue"]
        )
        for queue in self._scene.states.queues:
            messages.add_metric([queue.name], queue.messages)
            consumers.add_metric([queue.name], queue.consumers)
            age.add_metric([queue.name], queue.age_seconds)
            remade.add_metric([queue.name], queue.remade_at)
        yield from (messages, consumers, age, remade)

    def _inbox(self) -> Iterator[Metric]:
        inbox = inbox_stats()
        states = GaugeMetricFamily("inbox_results", "Results that are not settled or need somebody.", labels=["state"])
        for state in ("waiting", "unmatched", "quarantined", "dead", "conflict"):
            states.add_metric([state], getattr(inbox, state))
        yield states
        yield GaugeMetricFamily(
            "inbox_oldest_age_seconds", "Age of the oldest waiting result.", value=inbox.oldest_age_seconds
        )
        refused = CounterMetricFamily(
            "webhook_results_refused", "Results refused before they were stored.", labels=["door", "reason"]
        )
        for refusal in refusal_stats(self._scene.now):
            refused.add_metric([refusal.door, refusal.reason], refusal.count)
        yield refused


@read_only
def metrics(request: HttpRequest) -> HttpResponse:
    """The exposition text."""
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    shared = settings.METRICS and settings.METRICS_FOLDER
    with metric_files.settled(Path(settings.METRICS_FOLDER)) if shared else nullcontext():
        if shared:
            MultiProcessCollector(registry, settings.METRICS_FOLDER)
        text = generate_latest(registry)
    if settings.METRICS and not shared:
        text += generate_latest(REGISTRY)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)
