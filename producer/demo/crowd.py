"""A bounded number of threads that submit bodies, at full speed or at a given rate, and hand back each answer."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Self

from producer.demo.submit import Answer, Api

WAIT_SECONDS = 0.1


class Crowd:
    """Iterate over it: it yields an Answer per body, or None after a moment without one, so that the caller can look
    around (is a child dead? was Ctrl-C pressed?). Leaving the block stops the threads."""

    def __init__(
        self, api: Api, bodies: Iterable[bytes], key_prefix: str, threads: int = 8, rate: float | None = None
    ) -> None:
        self._api = api
        self._bodies = enumerate(bodies, start=1)
        self._prefix = key_prefix
        self._rate = rate
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._answers: queue.Queue[Answer] = queue.Queue()
        self._started = 0.0
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def __iter__(self) -> Iterator[Answer | None]:
        while True:
            working = any(thread.is_alive() for thread in self._threads)
            try:
                # Looked at before the queue: what a thread put there before it ended is then still fetched.
                yield self._answers.get(timeout=WAIT_SECONDS if working else 0)
            except queue.Empty:
                if not working:
                    return
                yield None

    def _work(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                job = next(self._bodies, None)
            if job is None:
                return
            number, body = job
            if self._rate is not None:
                # Due times follow from the start, not from the last answer: a slow server doesn't lower the rate
                # unnoticed, it shows as fewer accepted a second.
                due = self._started + (number - 1) / self._rate
                if self._stopped.wait(max(0.0, due - time.monotonic())):
                    return
            self._answers.put(self._api.submit(number, body, f"{self._prefix}-{number}"))
