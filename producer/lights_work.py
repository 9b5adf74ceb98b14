"""Lights of the work: events and results that wait, are dead or refused; transactions without a result."""

from django.conf import settings

from outbox import stats as outbox
from producer.light import Condition, Scene, level
from transactions import stats as transactions

# How long the light stays on after a result was refused (seconds).
REFUSAL_SHOWN_SECONDS = 60.0


def events(scene: Scene) -> list[Condition]:
    backlog = outbox.backlog(scene.now)
    limit = settings.OUTBOX_READY_MAX_AGE_SECONDS
    return [
        Condition(
            "events_waiting",
            level(backlog.oldest_age_seconds, limit / 4, limit),
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


def results(scene: Scene) -> list[Condition]:
    stats = scene.results
    limit = settings.OUTBOX_READY_MAX_AGE_SECONDS
    return [
        Condition(
            "results_waiting",
            level(stats.oldest_age_seconds, limit / 4, limit),
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


def refused(scene: Scene) -> list[Condition]:
    recent = [refusal for refusal in scene.results.refusals if refusal.age_seconds < REFUSAL_SHOWN_SECONDS]
    accepted = scene.results.newest_age_seconds
    others_come = accepted is not None and accepted < REFUSAL_SHOWN_SECONDS
    return [
        Condition(
            "results_refused",
            "ok" if not recent else "warn" if others_come else "bad",
            "Results refused",
            "Somebody sends results that no key of ours proves, or whose time is wrong."
            + ("" if others_come or not recent else " None was accepted in the last minute."),
            "signature-wrong: compare the Consumer's RESULT_WEBHOOK_SECRET with ours. timestamp-outside: its clock.",
            ", ".join(f"{refusal.reason} ({refusal.count})" for refusal in recent) or "none in the last minute",
            "resultsrefused",
        )
    ]


def overdue(scene: Scene) -> list[Condition]:
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
