"""What runs by the clock: task, interval, expiry, why. Data; beat writes it to the database at its start."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """`every` and `expires` in seconds. A tick that waited longer than `expires` is dropped: the next does its work.

    Only on the embedded transport, which is one machine. RabbitMQ drops what waited by its own clock (the queue's message TTL);
    an `expires` is set by one machine's clock and judged by another's, and drops all ticks when they differ.
    """

    task: str
    every: float
    expires: int
    why: str
    in_place: bool = False


SCHEDULE = {
    "relay": Entry("scheduler.relay", 1, 5, "publishes what no wake-up announced; the safety net", in_place=True),
    "inbox": Entry("scheduler.sweep_inbox", 2, 10, "applies results whose nudge was lost, and retries", in_place=True),
    "overdue": Entry("scheduler.mark_overdue", 15, 60, "flags late results and asks again", in_place=True),
    "prune": Entry("scheduler.prune", 600, 600, "drops what is past its retention, in batches"),
}


def beat_schedule(*, expiring: bool) -> dict[str, dict[str, Any]]:
    """SCHEDULE in Celery's form. Interval changes are commits; pausing is done in the admin."""
    return {
        # django-celery-beat keeps `expire_seconds` only; Celery's own `expires` would be dropped without a word.
        name: {
            "task": entry.task,
            "schedule": entry.every,
            "options": {"expire_seconds": entry.expires if expiring else None},
        }
        for name, entry in SCHEDULE.items()
    }
