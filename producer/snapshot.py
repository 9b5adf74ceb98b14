"""A value that is computed at most once in a while, however many ask: ten open browsers cost as one."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Taken(Generic[Value]):
    at: float
    outcome: Value | Exception

    def hand_out(self) -> Value:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Snapshot(Generic[Value]):
    """Per process. While one thread computes, the others take the value before, if there is one.

    A failure is kept as long as a value: what is too slow must not be asked by one waiting thread after the other.
    """

    def __init__(
        self, compute: Callable[[], Value], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._compute, self._seconds, self._clock = compute, seconds, clock
        self._lock = threading.Lock()
        self._taken: _Taken[Value] | None = None

    def get(self) -> Value:
        """Raises what computing raised."""
        taken = self._taken
        if taken is not None and (self._is_fresh(taken) or not self._lock.acquire(blocking=False)):
            return taken.hand_out()
        if taken is None:
            self._lock.acquire()
        try:
            # Another thread may have been quicker while this one waited.
            if self._taken is None or not self._is_fresh(self._taken):
                self._taken = self._take()
            return self._taken.hand_out()
        finally:
            self._lock.release()

    def _is_fresh(self, taken: _Taken[Value]) -> bool:
        return self._clock() - taken.at < self._seconds

    def _take(self) -> _Taken[Value]:
        """Its age counts from the end: what took long must not be old when it is there."""
        outcome: Value | Exception
        try:
            outcome = self._compute()
        except Exception as error:
            outcome = error
        return _Taken(self._clock(), outcome)
