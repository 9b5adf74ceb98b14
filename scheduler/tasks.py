"""Thin periodic tasks. A tick that found nothing raises Ignore and leaves no result row: 86,400 a day help nobody."""

import time
from dataclasses import asdict

from celery import shared_task
from celery.exceptions import Ignore

from outbox import heartbeat
from outbox import prune as outbox_prune
from outbox.relay import Horizon, run_once
from transactions import idempotency
from transactions.services import mark_overdue as mark_overdue_transactions
from webhooks import prune as webhooks_prune
from webhooks.services import apply_due

# A tick drains for this long (seconds) and leaves the rest to the next: it must not block the worker for others.
RELAY_BUDGET_SECONDS = 5.0
SWEEP_BUDGET_SECONDS = 10.0
PRUNE_BUDGET_SECONDS = 20.0


def relay_pass(budget_seconds: float = RELAY_BUDGET_SECONDS) -> dict[str, int]:
    """Runs passes until nothing is due, no channel works, or the budget is spent."""
    horizon, until = Horizon(), time.monotonic() + budget_seconds
    total = {"claimed": 0, "published": 0, "retried": 0, "dead": 0, "released": 0, "lost": 0}
    while True:
        counts = run_once(horizon=horizon)
        for name in total:
            total[name] += asdict(counts)[name]
        if not counts.more or time.monotonic() > until:
            return total


@shared_task(name="scheduler.relay")
def relay() -> dict[str, int]:
    """The relay's tick."""
    counts = relay_pass()
    if not counts["claimed"]:
        raise Ignore
    return counts


@shared_task(name="scheduler.sweep_inbox")
def sweep_inbox() -> dict[str, int]:
    """The inbox's tick."""
    counts = apply_due(budget_seconds=SWEEP_BUDGET_SECONDS)
    if not counts:
        raise Ignore
    return dict(counts)


@shared_task(name="scheduler.mark_overdue")
def mark_overdue() -> int:
    """The deadline's tick."""
    count = mark_overdue_transactions()
    if not count:
        raise Ignore
    return count


@shared_task(name="scheduler.prune")
def prune() -> dict[str, int]:
    """Retention, in small batches, within a budget."""
    jobs = {"outbox": outbox_prune.prune_once, "inbox": webhooks_prune.prune_once, "keys": idempotency.prune_once}
    heartbeat.forget()
    until, total = time.monotonic() + PRUNE_BUDGET_SECONDS, dict.fromkeys(jobs, 0)
    for name, job in jobs.items():
        while time.monotonic() < until and (count := job()):
            total[name] += count
    if not any(total.values()):
        raise Ignore
    return total
