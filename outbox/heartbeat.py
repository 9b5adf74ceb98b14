"""Processes say that they are alive, how far off their clock is and how slow the database is to them."""

import logging
import os
import socket
import time
from datetime import datetime, timedelta

from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from outbox.clock import database_now
from outbox.models import ProcessState

log = logging.getLogger(__name__)

# A process speaks this often (seconds), and counts as dead when it was silent for the second: three words may be lost.
INTERVAL_SECONDS, DEAD_AFTER_SECONDS = 3.0, 10.0
# Rows of processes that are gone for so long tell nobody anything (seconds).
FORGET_AFTER_SECONDS = 3600.0


class Heart:
    """One per process. `beat` belongs into the loop that does the work: a thread of its own would outlive a hang."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._name = f"{kind}@{socket.gethostname()}:{os.getpid()}"[:150]
        self._next = 0.0
        self._write_seconds = 0.0

    def beat(self, note: str = "") -> bool:
        """Costs a look at the clock, and every INTERVAL_SECONDS two statements. Never raises."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + INTERVAL_SECONDS
        try:
            _, offset, seconds = measure_clock()
            state = ProcessState(
                name=self._name,
                kind=self._kind,
                seen_at=Now(),
                clock_offset_seconds=offset,
                database_seconds=max(seconds, self._write_seconds),
                note=note[:500],
            )
            started = time.monotonic()
            ProcessState.objects.bulk_create(
                [state],
                update_conflicts=True,
                unique_fields=["name"],
                update_fields=["kind", "seen_at", "clock_offset_seconds", "database_seconds", "note"],
            )
            self._write_seconds = time.monotonic() - started
        except (DatabaseError, InterfaceError) as error:
            log.warning("heartbeat lost", extra={"process_name": self._name, "reason": type(error).__name__})
            if not connection.in_atomic_block:
                connection.close()
            return False
        return True

    def stop(self) -> None:
        """Told to stop, so it is not missed: takes its row along, and those of its kind that fell silent before. Never raises.

        Not for the end by an exception: whoever died without this is missed until another lives, or stops like this.
        """
        try:
            silent = database_now() - timedelta(seconds=DEAD_AFTER_SECONDS)
            ProcessState.objects.filter(Q(name=self._name) | Q(kind=self._kind, seen_at__lt=silent)).delete()
        except (DatabaseError, InterfaceError) as error:
            log.warning("heartbeat lost", extra={"process_name": self._name, "reason": type(error).__name__})


def forget() -> int:
    """Drops the rows of processes that are long gone, but the last of a kind: it tells that none has come in its place."""
    gone = database_now() - timedelta(seconds=FORGET_AFTER_SECONDS)
    later = ProcessState.objects.filter(kind=OuterRef("kind"), seen_at__gt=OuterRef("seen_at"))
    return ProcessState.objects.filter(Exists(later), seen_at__lt=gone).delete()[0]


def measure_clock(statement_milliseconds: int | None = None) -> tuple[datetime, float, float]:
    """The database's time, how far this process's clock is ahead of it, and what asking took (both seconds).

    `statement_milliseconds` as in `database_now`.
    """
    before, started = time.time(), time.monotonic()
    now = database_now(statement_milliseconds=statement_milliseconds)
    took = time.monotonic() - started
    return now, before + took / 2 - now.timestamp(), took
