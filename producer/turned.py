"""One log line for each light that turns, so that the log tells of a fault even where the faulty process says nothing.

By every web process that looks: for a probe of /readyz, a scrape of /metrics, an open dashboard.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable

from producer.light import Condition, Level

log = logging.getLogger(__name__)

# A light may turn so often at once, each with a line of its own: a fault that follows on the heels of another is news.
AT_ONCE = 10
# One that goes on flickering is logged once in so many seconds; where it came to rest, at the first look after that.
AGAIN_AFTER_SECONDS = 5.0
COLOURS: dict[Level, str] = {"ok": "green", "warn": "amber", "bad": "red"}


class Turned:
    """What this process said last of each light. One that it never saw counts as green: a start in trouble is told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        # Its level, and the time at which all that it said is paid for, at AGAIN_AFTER_SECONDS a line.
        self._said: dict[str, tuple[Level, float]] = {}

    def look(self, lights: Iterable[Condition]) -> None:
        """Logs what differs from what was said."""
        with self._lock:
            turned = [light for light in lights if self._is_news(light)]
        # By the process: each tells the turns that it saw, and another may not have looked yet.
        name = f"web@{socket.gethostname()}:{os.getpid()}"
        for light in turned:
            say = log.info if light.level == "ok" else log.warning
            reason = light.value if light.level == "ok" else f"{light.value}. {light.meaning}"
            words = {"light": light.id, "reason": reason, "process_name": name}
            say(f"{light.title}: {COLOURS[light.level]}", extra=words)

    def _is_news(self, light: Condition) -> bool:
        """Takes it as said."""
        now = self._clock()
        level, paid_at = self._said.get(light.id, ("ok", now))
        if light.level == level or paid_at - now > (AT_ONCE - 1) * AGAIN_AFTER_SECONDS:
            return False
        self._said[light.id] = (light.level, max(paid_at, now) + AGAIN_AFTER_SECONDS)
        return True
