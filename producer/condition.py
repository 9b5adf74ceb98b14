"""How the system is: green, amber or red for each thing that can go wrong, with what it means and what to do.

One place for the words; the dashboard and docs/operations.md show the same. Bounded queries only: a million waiting
events must not make the page slow that tells of them.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from outbox import stats as outbox
from transactions import stats as transactions
from webhooks import stats as webhooks

log = logging.getLogger(__name__)

Level = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One light. `value` is the number or word behind it; `docs_anchor` is its section in docs/operations.md."""

    id: str
    level: Level
    title: str
    meaning: str
    remedy: str
    value: str
    docs_anchor: str


def current() -> list[Condition]:
    """Every light, in the order in which to look at them: a red one often explains those below it. Never raises."""
    found: list[Condition] = []
    for look in LOOKS:
        try:
            found += look()
        except (DatabaseError, InterfaceError) as error:
            log.warning("condition unknown", extra={"reason": type(error).__name__})
            if not connection.in_atomic_block:
                connection.close()
            return [*found, _database_away(type(error).__name__)]
    return found


def worst(conditions: list[Condition]) -> Level:
    """One word for all."""
    levels = {condition.level for condition in conditions}
    return "bad" if "bad" in levels else "warn" if "warn" in levels else "ok"


def _database_away(reason: str) -> Condition:
    return Condition(
        "database",
        "bad",
        "Database away",
        "PostgreSQL does not answer. The API answers 503; clients repeat; nothing that got a 2xx is lost.",
        "Start PostgreSQL or mend the way to it. Everything goes on by itself.",
        reason,
        "databaseslow",
    )


def _broker() -> list[Condition]:
    found = []
    for channel in outbox.channel_stats():
        failing, value = channel.failing_seconds > 0 or channel.disabled, f"{channel.failing_seconds:.0f} s"
        if channel.name == "broker":
            found.append(
                Condition(
                    "broker",
                    "bad" if failing else "ok",
                    "RabbitMQ takes no events" if failing else "RabbitMQ takes events",
                    f"Events wait, and after {settings.OUTBOX_FALLBACK_AFTER_SECONDS:.0f} s go by webhook. "
                    f"{channel.reason}",
                    "Start RabbitMQ, or free its disk or memory if it blocks publishers. The relay returns by itself.",
                    value,
                    "brokeraway",
                )
            )
        else:
            found.append(
                Condition(
                    "fallback",
                    "bad" if channel.disabled else "warn" if failing else "ok",
                    "The Consumer said 410 Gone" if channel.disabled else "The fallback webhook",
                    f"Events cannot go by webhook while RabbitMQ is away. {channel.reason}",
                    "Correct CONSUMER_WEBHOOK_URL or start the Consumer; then enable the channel in the admin."
                    if channel.disabled
                    else "Start the Consumer's web process, or correct CONSUMER_WEBHOOK_URL.",
                    value,
                    "fallbackaway",
                )
            )
    if not any(condition.id == "broker" for condition in found):
        found.insert(0, Condition("broker", "ok", "RabbitMQ takes events", "", "", "0 s", "brokeraway"))
    return found


def _events() -> list[Condition]:
    backlog = outbox.backlog()
    limit = settings.OUTBOX_READY_MAX_AGE_SECONDS
    return [
        Condition(
            "events_waiting",
            "bad" if backlog.oldest_age_seconds > limit else "warn" if backlog.oldest_age_seconds > limit / 4 else "ok",
            "Events wait for delivery",
            "Transactions are accepted and safe, but the Consumer has not been told of them yet.",
            "Look at RabbitMQ, the relay and the beat above. If they are green: more relays.",
            f"{backlog.waiting}, the oldest for {backlog.oldest_age_seconds:.0f} s",
            "eventswait",
        ),
        Condition(
            "events_dead",
            "bad" if backlog.dead != "0" else "ok",
            "Events given up",
            "The Consumer will not hear of these changes until somebody sends them again.",
            "Open the dead events, read the error, mend its cause, requeue. Discard only what nobody needs.",
            backlog.dead,
            "eventsdead",
        ),
    ]


def _results() -> list[Condition]:
    stats = webhooks.backlog()
    limit = settings.OUTBOX_READY_MAX_AGE_SECONDS
    return [
        Condition(
            "results_waiting",
            "bad" if stats.oldest_age_seconds > limit else "warn" if stats.oldest_age_seconds > limit / 4 else "ok",
            "Results wait to be applied",
            "The Consumer has answered; the transactions do not show it yet.",
            "Look at workers and beat. If they are green, read the reasons of the failed results.",
            f"{stats.waiting}, the oldest for {stats.oldest_age_seconds:.0f} s",
            "resultswait",
        ),
        Condition(
            "results_stuck",
            "bad" if stats.stuck != "0" else "ok",
            "Results that need somebody",
            "Dead, quarantined or conflicting results: received, and not applied.",
            "Open them and read the reason. Mend its cause and reapply; discard what is wrong for good.",
            stats.stuck,
            "resultsstuck",
        ),
    ]


def _overdue() -> list[Condition]:
    overdue = transactions.overdue()
    return [
        Condition(
            "overdue",
            "warn" if overdue != "0" else "ok",
            "Transactions without a result in time",
            f"No result within {settings.RESULT_DEADLINE_SECONDS} s. Their events are sent again, ever more seldom.",
            "Ask the Consumer's operators what became of them. A late result still applies.",
            overdue,
            "transactionsoverdue",
        )
    ]


LOOKS: list[Callable[[], list[Condition]]] = [_broker, _events, _results, _overdue]
