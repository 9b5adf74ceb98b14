"""A token bucket for one process: keeps one sender from taking all of it."""

import math
import threading
import time
from collections.abc import Callable


class TokenBucket:
    """`rate` tokens a second up to `burst`. Per process: it protects the process, and a refused sender comes again."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = float(burst), clock()
        self._lock = threading.Lock()

    def take(self) -> int:
        """0 when a token was taken, else the whole seconds after which there is one again."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens >= 1:
                self._tokens -= 1
                return 0
            return max(1, math.ceil((1 - self._tokens) / self._rate))
