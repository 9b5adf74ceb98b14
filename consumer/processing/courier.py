"""The courier: one background thread per process that sweeps what is due. Loops and waits live only here."""

import atexit
import logging
import os
import threading

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection

from processing import sweep

log = logging.getLogger("consumer.courier")

# Seconds between two looks at the database when nobody wakes the courier. It bounds the delay after a lost wake-up.
IDLE_SECONDS = 1.0
# Seconds to wait after a database error, so that an outage does not fill the log.
ERROR_SECONDS = 5.0
# Seconds that an orderly stop waits for the row in hand; what takes longer is swept after its lease.
STOP_SECONDS = 5.0


class Courier:
    """A thread, the process that it belongs to, and the two events by which it is told something."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.wake = threading.Event()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def _run(self) -> None:
        while not self.stopping.is_set():
            self.wake.clear()
            pause = IDLE_SECONDS
            try:
                close_old_connections()
                if sweep.run_once(self.stopping):
                    continue
            except DatabaseError as error:
                log.warning("the database does not answer (%s)", type(error).__name__)
                connection.close()
                pause = ERROR_SECONDS
            except Exception:
                # The thread must outlive a defect: without it results wait for a restart that nobody knows is needed.
                log.exception("one pass failed")
                pause = ERROR_SECONDS
            self.wake.wait(pause)
        connection.close()


_courier: Courier | None = None
_lock = threading.Lock()


def ensure_started() -> None:
    """Starts the thread, once per process. After a fork only the parent has it, so the child starts its own."""
    global _courier
    if not settings.COURIER:
        return
    with _lock:
        if _courier is not None and _courier.pid == os.getpid() and _courier.thread.is_alive():
            return
        if _courier is not None and _courier.pid == os.getpid() and _courier.stopping.is_set():
            return
        _courier = Courier()
        _courier.thread.start()


def wake() -> None:
    """Tells the courier that something is due now."""
    ensure_started()
    if _courier is not None:
        _courier.wake.set()


def ask_to_stop() -> None:
    """Returns at once; for signal handlers."""
    if _courier is not None and _courier.pid == os.getpid():
        _courier.stopping.set()
        _courier.wake.set()


def stop() -> None:
    """Stops and waits for the row in hand, for a bounded time."""
    ask_to_stop()
    if _courier is not None and _courier.pid == os.getpid() and _courier.thread.is_alive():
        _courier.thread.join(STOP_SECONDS)


def _fresh_lock_after_fork() -> None:
    """The parent may have held the lock at the moment of the fork; in the child nobody would ever release it."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_fresh_lock_after_fork)
atexit.register(stop)
