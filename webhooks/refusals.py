"""Counts refused results where every process can see it: by reason, off the request's thread, once a second at most.

A refused result leaves no row of its own: whoever can reach the door could fill the disk with them.
"""

import threading
from collections import Counter

from django.db import connection

from outbox.wakeup import Coalescer

MIN_INTERVAL_SECONDS = 1.0

_waiting: Counter[tuple[str, str]] = Counter()
_lock = threading.Lock()
_NOW = {"postgresql": "statement_timestamp()", "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"}
_ADD = """
    INSERT INTO webhooks_refusal (name, door, reason, count, last_at) VALUES (%s, %s, %s, %s, {now})
    ON CONFLICT (name) DO UPDATE SET count = webhooks_refusal.count + EXCLUDED.count, last_at = EXCLUDED.last_at
"""


def note(reason: str, door: str) -> None:
    """One more result refused; `reason` is one of webhooks.signing.Reason."""
    with _lock:
        _waiting[door, reason] += 1
    poke()


def flush() -> None:
    """Adds what was counted since to the rows. What a database that is away misses is counted with the next."""
    with _lock:
        counts = dict(_waiting)
        _waiting.clear()
    try:
        with connection.cursor() as cursor:
            for (door, reason), count in counts.items():
                cursor.execute(_ADD.format(now=_NOW[connection.vendor]), [f"{door}:{reason}", door, reason, count])
    except Exception:
        with _lock:
            _waiting.update(counts)
        connection.close()
        raise


def poke() -> None:
    """Has it written down soon."""
    _writer.poke()


_writer = Coalescer("webhook-refusals", flush, MIN_INTERVAL_SECONDS)
