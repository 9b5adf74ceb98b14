"""Thin periodic tasks. A tick that found nothing leaves no result row."""

import logging
import time
from dataclasses import asdict
from typing import Any

from celery import shared_task
from django.db import DatabaseError, InterfaceError

from outbox import heartbeat
from outbox import prune as outbox_prune
from outbox import services as outbox
from outbox.relay import Horizon, run_once
from outbox.ticks import found_nothing
from transactions import idempotency
from transactions.services import mark_overdue as mark_overdue_transactions
from webhooks import prune as webhooks_prune
from webhooks import services as webhooks
from webhooks.services import apply_due

log = logging.getLogger(__name__)

# A tick drains for this long (seconds) and leaves the rest to the next: it must not block the worker for others.
RELAY_BUDGET_SECONDS = 5.0
SWEEP_BUDGET_SECONDS = 10.0
OVERDUE_BUDGET_SECONDS = 5.0
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


def overdue_pass(budget_seconds: float = OVERDUE_BUDGET_SECONDS) -> int:
    """Looks at what is late, some at a time, until nothing is or the budget is spent; returns how many it looked at.

    One look of 200 every 15 s would be 13 a second: after a Consumer's bad hour the flags and the second sending were hours late.
    """
    until, total = time.monotonic() + budget_seconds, 0
    while count := mark_overdue_transactions():
        total += count
        if time.monotonic() > until:
            break
    return total


@shared_task(name="scheduler.relay", bind=True)
def relay(task: Any) -> dict[str, int]:
    """The relay's tick."""
    counts = relay_pass()
    if not counts["claimed"]:
        found_nothing(task)
    return counts


@shared_task(name="scheduler.sweep_inbox", bind=True)
def sweep_inbox(task: Any) -> dict[str, int]:
    """The inbox's tick."""
    counts = apply_due(budget_seconds=SWEEP_BUDGET_SECONDS)
    if not counts:
        found_nothing(task)
    return dict(counts)


@shared_task(name="scheduler.mark_overdue", bind=True)
def mark_overdue(task: Any) -> int:
    """The deadline's tick."""
    count = overdue_pass()
    if not count:
        found_nothing(task)
    return count


@shared_task(name="scheduler.prune", bind=True)
def prune(task: Any) -> dict[str, int]:
    """Retention, in small batches in turn, within a budget: no part waits for another to be done, or to work at all.

    Raises the first error of the database that any met, when the others are done.
    """
    jobs = {
        "outbox": outbox_prune.prune_once,
        "inbox": webhooks_prune.prune_once,
        "keys": idempotency.prune_once,
        # Beside retention, since it is as seldom: what a clock that was ahead has put off.
        "events_recalled": outbox.recall,
        "results_recalled": webhooks.recall,
    }
    heartbeat.forget()
    total, errors = dict.fromkeys(jobs, 0), list[Exception]()
    until = time.monotonic() + PRUNE_BUDGET_SECONDS
    while jobs and time.monotonic() < until:
        for name, job in list(jobs.items()):
            try:
                count = job()
            except (DatabaseError, InterfaceError) as error:
                log.warning("not pruned", extra={"part": name, "reason": type(error).__name__})
                errors.append(error)
                count = 0
            if count:
                total[name] += count
            else:
                del jobs[name]
    if errors:
        raise errors[0]
    if not any(total.values()):
        found_nothing(task)
    return total
