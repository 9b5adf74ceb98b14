"""One log line for each light that turns, so that the log tells of a fault even where the faulty process says nothing.

By every web process that looks: for a probe of /readyz, a scrape of /metrics, an open dashboard.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from producer.light import Condition, Level

log = logging.getLogger(__name__)

# A light that flickers is logged so often at most (seconds); what it came to rest at is logged in any case.
AGAIN_AFTER_SECONDS = 5.0
COLOURS: dict[Level, str] = {"ok": "green", "warn": "amber", "bad": "red"}


class Turned:
    """What this process said last of each light. One that it never saw counts as green: a start in trouble is told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._said: dict[str, tuple[Level, float]] = {}

    def look(self, lights: Iterable[Condition]) -> None:
        """Logs what differs from what was said."""
        with self._lock:
            turned = [light for light in lights if self._is_news(light)]
            self._said |= {light.id: (light.level, self._clock()) for light in turned}
        for light in turned:
            say = log.info if light.level == "ok" else log.warning
            reason = light.value if light.level == "ok" else f"{light.value}. {light.meaning}"
            say(f"{light.title}: {COLOURS[light.level]}", extra={"light": light.id, "reason": reason})

    def _is_news(self, light: Condition) -> bool:
        level, at = self._said.get(light.id, ("ok", -AGAIN_AFTER_SECONDS))
        return light.level != level and self._clock() - at >= AGAIN_AFTER_SECONDS
