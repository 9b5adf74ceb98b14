"""Remembers that a door is shut, so that a queue of results does not knock one by one and wait for each time-out."""

import threading
import time
from collections.abc import Callable


class Breaker:
    """Opens after a number of failures in a row; then lets one attempt through per probe interval. Per process."""

    def __init__(self, failures: int, probe_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._next_probe = 0.0

    def allows(self) -> bool:
        """Whether to try now. While open, a True hands out the one probe of this interval."""
        with self._lock:
            if self._failures < self._limit:
                return True
            now = self._clock()
            if now < self._next_probe:
                return False
            self._next_probe = now + self._probe_seconds
            return True

    def is_open(self) -> bool:
        with self._lock:
            return self._failures >= self._limit

    def succeeded(self) -> bool:
        """True when this success closed an open breaker."""
        with self._lock:
            was_open = self._failures >= self._limit
            self._failures = 0
            return was_open

    def failed(self, count: int = 1) -> None:
        with self._lock:
            self._failures += count
            self._next_probe = self._clock() + self._probe_seconds
