"""A beat on the database that needs no broker: while that is away, the few ticks that matter run in the beat process.

Two beats at once do no harm: what the ticks do is claimed row by row.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from celery.beat import ScheduleEntry
from celery.schedules import schedstate
from django.db import DatabaseError, InterfaceError, close_old_connections, connections
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from outbox.heartbeat import Heart
from outbox.wakeup import TaskLink
from scheduler.schedule import SCHEDULE
from scheduler.tasks import overdue_pass, relay_pass
from webhooks.services import apply_due

log = logging.getLogger(__name__)

# After a tick that could not be sent the broker is left alone for this long (seconds): each try may cost the deadlines
# of TaskLink, and nothing else is sent or started meanwhile.
AWAY_SECONDS = 5.0
# A tick in place works for this long (seconds) and leaves the rest to the next.
IN_PLACE_BUDGET_SECONDS = 2.0

JOBS: dict[str, Callable[[], object]] = {
    "scheduler.relay": lambda: relay_pass(budget_seconds=IN_PLACE_BUDGET_SECONDS),
    "scheduler.sweep_inbox": lambda: apply_due(budget_seconds=IN_PLACE_BUDGET_SECONDS),
    "scheduler.mark_overdue": lambda: overdue_pass(budget_seconds=IN_PLACE_BUDGET_SECONDS),
}
IN_PLACE = {entry.task for entry in SCHEDULE.values() if entry.in_place}


# A clock that moves by more than this between two ticks was set (seconds); NTP slews it by far less.
CLOCK_SET_SECONDS = 1.0


class Entry(ModelEntry):
    """A last run in the future is a clock's that was ahead; left alone, nothing would be due until that time has come."""

    def is_due(self) -> schedstate:
        """As the library says, from a last run that has been."""
        now = timezone.now()
        if self.last_run_at and self.last_run_at > now:
            self.last_run_at = now
        return super().is_due()  # type: ignore[no-untyped-call,no-any-return]


class InPlaceScheduler(DatabaseScheduler):
    """Sends due tasks on a connection of its own; what it cannot send it runs here, or skips."""

    Entry = Entry
    # The schedule has been read once.
    _set_up = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._link = TaskLink(self.app)
        self._away_until = 0.0
        self._away = False
        self._running: dict[str, threading.Thread] = {}
        self._heart = Heart("beat")
        self._clock_ahead = _clock_ahead()

    @property
    def producer(self) -> None:  # type: ignore[override]
        """Nothing: tick() reads it before each task, and Celery's would wait here for the broker, for ever."""
        return

    def setup_schedule(self) -> None:
        """Called by the constructor. With the database away the first tick that finds it does this."""
        try:
            super().setup_schedule()  # type: ignore[no-untyped-call]
            self._set_up = True
        except (DatabaseError, InterfaceError) as error:
            # Half read is not read.
            self._initial_read = True
            log.warning("beat: database away, no schedule yet", extra={"reason": type(error).__name__})
            close_old_connections()

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """One step. A database that is away costs a second, not the process."""
        if not self._set_up:
            self.setup_schedule()
        if not self._set_up:
            return self.max_interval
        if abs(_clock_ahead() - self._clock_ahead) > CLOCK_SET_SECONDS:
            # The heap is in the order of the clock as it was: what stands late in it would wait for that time to come again.
            log.warning("beat: the clock was set, the schedule is made anew")
            self._heap = None  # type: ignore[assignment]
        self._clock_ahead = _clock_ahead()
        try:
            delay: Any = super().tick(*args, **kwargs)
            self._heart.beat("the broker takes no ticks, they run in place" if self._away else "")
        except (DatabaseError, InterfaceError) as error:
            log.warning("beat: database away", extra={"reason": type(error).__name__})
            close_old_connections()
            delay = self.max_interval
        return delay

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Sends one due task, or does in place what must not wait. Never raises, never waits for the broker."""
        if not self._send(entry):
            self._run_in_place(entry)

    def close(self) -> None:
        """At the end of the process."""
        super().close()
        self._link.close()

    def _send(self, entry: ScheduleEntry) -> bool:
        if time.monotonic() < self._away_until:
            return False
        # One try: what fails is done in place at once.
        entry.options = {**(entry.options or {}), "retry": False}
        try:
            with self._link.producer() as producer:
                self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            if not self._away:
                reason = type(error.__cause__ or error.__context__ or error).__name__
                log.warning("beat: broker away, ticks run in place", extra={"reason": reason})
            self._away = True
            return False
        if self._away:
            log.warning("beat: broker back, ticks go to the workers")
            self._away = False
        return True

    def _run_in_place(self, entry: ScheduleEntry) -> None:
        if entry.task not in IN_PLACE:
            log.warning("beat: skipped, the broker is away", extra={"task": entry.task})
            return
        running = self._running.get(entry.task)
        if running is not None and running.is_alive():
            # A tick in a thread of its own, so that a slow one (a webhook that does not answer) delays no other.
            return
        thread = threading.Thread(target=_run, args=(entry.task,), name=entry.task, daemon=True)
        self._running[entry.task] = thread
        thread.start()


def _clock_ahead() -> float:
    """How far the clock is ahead of one that nobody sets (seconds)."""
    return time.time() - time.monotonic()


def _run(task: str) -> None:
    """One tick; whatever breaks in it must not end the beat."""
    try:
        JOBS[task]()
    except (DatabaseError, InterfaceError) as error:
        log.warning("beat: tick failed, database away", extra={"task": task, "reason": type(error).__name__})
    except Exception:
        log.exception("beat: tick failed", extra={"task": task})
    finally:
        connections.close_all()
