"""Wakes a relay in milliseconds after a commit: one NOTIFY for many commits.

With the commit itself where that is one of our functions in the database, else sent after it, off the request's thread.
Never by publishing in the request, never by a row trigger: PostgreSQL serialises the commits of notifying transactions, so
there are few of them. A wake-up that is lost costs one tick: the clock is the truth, this is only impatience.
"""

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections

from outbox import topology

log = logging.getLogger(__name__)

CHANNEL = "outbox"
# At most one wake-up per process in this time (seconds); commits in between are covered by the next one.
MIN_INTERVAL_SECONDS = 0.005
# In a stream of commits a relay is awake anyway: so many wake-ups a second and process, after so many at once, are enough.
# More would make commits wait for each other; fewer would make a system wait that commits less often than this.
PER_SECOND, AT_ONCE = 60.0, 20
# How long the broker may take to accept a connection, and then for anything else (seconds). Without the second, whoever
# sends to a broker that froze waits for ever: it keeps the connection and never answers.
CONNECT_SECONDS, ANSWER_SECONDS = 1.0, 2.0


class Coalescer:
    """Runs `action` soon after `poke()`, once for many pokes, in a daemon thread that survives a fork.

    At once while it is seldom asked; never again within `min_interval` seconds, nor more than `per_second` times a
    second once it has run `at_once` times in quick succession.
    """

    def __init__(
        self, name: str, action: Callable[[], None], min_interval: float, per_second: float = 1000.0, at_once: int = 1
    ) -> None:
        self._name = name
        self._action = action
        self._min_interval, self._per_second, self._at_once = min_interval, per_second, at_once
        # Locked until it is rung. An Event would do, at twice the cost to the process that answers requests.
        self._bell = threading.Lock()
        self._lock = threading.Lock()
        self._pid = 0
        self._tokens, self._counted_at = float(at_once), time.monotonic()
        self._ran_at = -min_interval

    def take(self) -> bool:
        """True when `action` could run at once: the caller does then what it would do, in its own cheaper way."""
        with self._lock:
            if self._too_early() > 0:
                return False
            self._tokens -= 1
            self._ran_at = self._counted_at
            return True

    def poke(self) -> None:
        """Costs microseconds; never raises and never waits."""
        if self._pid != os.getpid():
            self._start()
        # It may be rung already.
        with contextlib.suppress(RuntimeError):
            self._bell.release()

    def _start(self) -> None:
        with self._lock:
            if self._pid != os.getpid():
                self._bell = threading.Lock()
                self._bell.acquire()
                self._pid = os.getpid()
                threading.Thread(target=self._run, name=self._name, daemon=True, args=(self._bell,)).start()

    def _too_early(self) -> float:
        """Seconds until the next run may be; for who holds the lock."""
        now = time.monotonic()
        self._tokens = min(float(self._at_once), self._tokens + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        return max((1 - self._tokens) / self._per_second, self._ran_at + self._min_interval - now)

    def _run(self, bell: threading.Lock) -> None:
        while True:
            bell.acquire()
            with self._lock:
                early, ran_at = self._too_early(), self._ran_at
            # Before and not after it ran: who is seldom asked has one waking of the thread to pay, not two.
            if early > 0:
                time.sleep(early)
            with self._lock:
                self._too_early()
                if self._ran_at != ran_at:
                    # Somebody took it upon himself since, and so for this ring. One after his still rings.
                    continue
                self._tokens -= 1
            # Who rang meanwhile is served by this run.
            bell.acquire(blocking=False)
            try:
                self._action()
            except Exception as error:
                log.warning("wake-up lost", extra={"wakeup": self._name, "reason": type(error).__name__})
                time.sleep(1)
            self._ran_at = time.monotonic()


class TaskLink:
    """A connection of one's own for sending Celery tasks that may get lost: short deadlines, one try, no waiting.

    Not Celery's pool: its connections have no deadline, and opening one tries `broker_connection_max_retries` times.
    For one thread at a time.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._connection: Any = None
        self._producer: Any = None

    @contextlib.contextmanager
    def producer(self) -> Iterator[Any]:
        """A producer for `send_task(producer=…, retry=False)`. Whatever breaks in the block drops the connection."""
        try:
            if self._producer is None:
                self._open()
            yield self._producer
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drops the connection without a handshake, which a frozen broker would not answer."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.collect()

    def _open(self) -> None:
        deadlines = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": ANSWER_SECONDS,
            "write_timeout": ANSWER_SECONDS,
        }
        self._connection = self._app.connection_for_write(transport_options=deadlines)
        # Not connect(), which tries twice and sleeps in between.
        topology.open_any(self._connection)
        # A channel and not the connection: given that, kombu would connect anew when it is lost, trying for ever.
        self._producer = self._app.amqp.Producer(self._connection.channel(), auto_declare=False)


def _notify() -> None:
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        return
    try:
        connection.ensure_connection()
        # The driver's own cursor: Django's would cost three times the statement, in the process that answers requests.
        with connection.connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")
    except Exception:
        connection.close()
        raise


_waker = Coalescer("outbox-wakeup", _notify, MIN_INTERVAL_SECONDS, PER_SECOND, AT_ONCE)


def take() -> bool:
    """Whether the transaction that is about to be written shall NOTIFY by itself; if not, poke() after its commit.

    So a wake-up costs neither a thread's turn nor a round trip. PostgreSQL lets one notifying commit through at a time.
    """
    return _waker.take()


def poke() -> None:
    """Says that there is something to relay; call it after the commit."""
    if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
        _waker.poke()


class Listener:
    """Waits for wake-ups in the standing relay: LISTEN on a connection of its own at OUTBOX_LISTEN_DATABASE.

    None there (a pool keeps no session) or SQLite: looks every `poll_seconds`.
    """

    def __init__(self, poll_seconds: float = 0.1) -> None:
        self._poll = poll_seconds
        self._raw: Any = None
        # Said once, and again after it has worked: it is tried ten times a second.
        self._told = False

    def wait(self, seconds: float) -> bool:
        """Returns early (True) when a commit asked for a relay; without LISTEN polls every tenth second."""
        raw = self._connect()
        if raw is None:
            time.sleep(min(seconds, self._poll))
            return False
        try:
            ready = select.select([raw], [], [], seconds)[0]
            if ready:
                raw.poll()
                raw.notifies.clear()
            return bool(ready)
        except InterruptedError:
            return False
        except Exception:
            self.close()
            time.sleep(min(seconds, self._poll))
            return False

    def close(self) -> None:
        """Drops the listening connection."""
        raw, self._raw = self._raw, None
        if raw is not None:
            with contextlib.suppress(Exception):
                raw.close()

    def _connect(self) -> Any:
        connection, where = connections[DEFAULT_DB_ALIAS], settings.OUTBOX_LISTEN_DATABASE
        if connection.vendor != "postgresql" or where is None:
            return None
        if self._raw is None:
            try:
                direct = connection.copy()
                direct.settings_dict |= where
                raw = direct.get_new_connection(direct.get_connection_params())
                raw.autocommit = True
                with raw.cursor() as cursor:
                    cursor.execute(f"LISTEN {CHANNEL}")
                self._raw, self._told = raw, False
            except Exception as error:
                if not self._told:
                    log.warning("cannot listen for wake-ups", extra={"reason": type(error).__name__})
                self._told = True
                close_old_connections()
                return None
        return self._raw
