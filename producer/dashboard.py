"""The figures of the landing page: the lights now, and what became of the traffic of a while."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import quantiles
from typing import Any

from django.db import transaction
from django.urls import reverse

from outbox import trends as outbox
from outbox.heartbeat import measure_clock
from outbox.masking import mask_text
from producer import condition
from producer.light import Clock, Scene
from producer.snapshot import Snapshot
from transactions import trends as transactions
from webhooks import trends as webhooks

# A figure is at most so old (seconds): less costs the database more, more makes the page lag behind.
NOW_SECONDS, WINDOW_SECONDS = 2.0, 5.0
# A slow database must not hold the server's few threads: each statement of the page gives up after this.
STATEMENT_MILLISECONDS = 3000
# Stretches in a chart; their length follows from the window.
STRETCHES = 30
LEAST_STRETCH = timedelta(seconds=5)
WINDOWS = {"15": "15 minutes", "60": "1 hour", "1440": "24 hours"}
REASONS_SHOWN = 5

_EVENTS, _RESULTS = "admin:outbox_outboxmessage_changelist", "admin:webhooks_inboxmessage_changelist"
_TRANSACTIONS, _CHANNELS = "admin:transactions_transaction_changelist", "admin:outbox_channelstate_changelist"
# Where one click shows what a light is about: words, page, filter.
LINKS = {
    "broker": [("Show the channels", _CHANNELS, "")],
    "fallback": [("Show the channels", _CHANNELS, "")],
    "queues": [("Show the published events", _EVENTS, "state=published")],
    "beat": [("Show the schedules", "admin:django_celery_beat_periodictask_changelist", "")],
    "events_waiting": [("Show the waiting events", _EVENTS, "state=pending")],
    "events_dead": [("Show the dead events", _EVENTS, "state=dead")],
    "results_waiting": [("Received", _RESULTS, "state=received"), ("Failed", _RESULTS, "state=failed")],
    "results_stuck": [
        ("Quarantined", _RESULTS, "state=quarantined"),
        ("Dead", _RESULTS, "state=dead"),
        ("Conflicting", _RESULTS, "state=conflict"),
    ],
    "results_refused": [("Show the keys", "admin:webhooks_webhookkey_changelist", "")],
    "overdue": [("Show the overdue transactions", _TRANSACTIONS, "status=overdue")],
}


def _address(page: str, query: str) -> str:
    return f"{reverse(page)}?{query}" if query else reverse(page)


def _patiently(read: Callable[[Clock], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Within a deadline per statement; raises the database's error when one takes longer."""

    def within_deadline() -> dict[str, Any]:
        with transaction.atomic():
            return read(measure_clock(STATEMENT_MILLISECONDS))

    return within_deadline


def _read_now(clock: Clock) -> dict[str, Any]:
    lights = condition.current(Scene(clock))
    shown = [{**asdict(light), "links": _links(light.id)} for light in lights]
    return {"level": condition.worst(lights), "lights": shown}


def _links(light_id: str) -> list[dict[str, str]]:
    return [{"words": words, "href": _address(page, query)} for words, page, query in LINKS.get(light_id, [])]


def _read_window(clock: Clock, minutes: int) -> dict[str, Any]:
    edges = _edges(clock[0], timedelta(minutes=minutes) / STRETCHES)
    cohorts, sent = transactions.cohorts(edges), outbox.sent(edges)
    return {
        "from": edges[0].isoformat(),
        "exact": all(count.exact for count in (*sent, *(cohort.submitted for cohort in cohorts))),
        "totals": {
            "submitted": sum(cohort.submitted.number for cohort in cohorts),
            "sent": sum(count.number for count in sent),
            "settled": sum(cohort.settled for cohort in cohorts),
            "failed": sum(cohort.weigh(cohort.statuses["failed"]) for cohort in cohorts),
            "canceled": sum(cohort.weigh(cohort.statuses["canceled"]) for cohort in cohorts),
        },
        "latency": _percentiles([second for cohort in cohorts for second in cohort.seconds]),
        "stretches": [
            _stretch(start, end, cohort, count.number)
            for (start, end), cohort, count in zip(pairwise(edges), cohorts, sent, strict=True)
        ],
        "reasons": _reasons(cohorts),
    }


def _edges(now: datetime, length: timedelta) -> list[datetime]:
    """Whole stretches of the clock, so that a chart does not shiver, and the begun one up to `now`."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    begun = epoch + (now - epoch) // length * length
    return [*(begun - length * (STRETCHES - 1 - place) for place in range(STRETCHES)), now]


def _stretch(start: datetime, end: datetime, cohort: transactions.Cohort, sent: int) -> dict[str, Any]:
    """Rates by the minute. A stretch that has just begun says little, so it counts as a few seconds long at least."""
    length = max(end - start, LEAST_STRETCH)
    rates = {"submitted": cohort.submitted.number, "sent": sent, "settled": cohort.settled}
    return {
        "at": start.isoformat(),
        **{name: round(number * (timedelta(minutes=1) / length), 2) for name, number in rates.items()},
        "latency": _percentiles(cohort.seconds),
    }


def _percentiles(seconds: list[float]) -> dict[str, float] | None:
    """p50 and p99 in seconds; with few values p99 is the slowest."""
    if not seconds:
        return None
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    return {"p50": round(cuts[49], 3), "p99": round(cuts[98] if len(seconds) >= 100 else max(seconds), 3)}


def _reasons(cohorts: Iterable[transactions.Cohort]) -> list[dict[str, Any]]:
    """What fails, the most frequent first, with the page that shows the rows. Figures stay there."""
    codes: Counter[tuple[str, str]] = Counter()
    for cohort in cohorts:
        codes.update({("failed", code): cohort.weigh(count) for code, count in cohort.codes.items()})
    groups = (
        ("Event", _EVENTS, "state", outbox.reasons()),
        ("Result", _RESULTS, "state", webhooks.reasons()),
        ("Transaction", _TRANSACTIONS, "status", codes),
    )
    return [
        {
            "what": what,
            "state": state,
            "reason": mask_text(reason),
            "count": count,
            "href": _address(page, f"{field}={state}"),
        }
        for what, page, field, counted in groups
        for (state, reason), count in counted.most_common(REASONS_SHOWN)
    ]


now = Snapshot(_patiently(_read_now), NOW_SECONDS)
windows = {
    minutes: Snapshot(_patiently(lambda clock, minutes=minutes: _read_window(clock, int(minutes))), WINDOW_SECONDS)  # type: ignore[misc]
    for minutes in WINDOWS
}
