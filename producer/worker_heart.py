"""Says that a Celery worker is alive: from a thread of its main process, for Celery's loop must not wait for a database."""

import threading
import time
from collections.abc import Collection
from typing import Any

from celery import signals
from django.db import connections

from outbox import topology
from outbox.heartbeat import DEAD_AFTER_SECONDS, INTERVAL_SECONDS, Heart


def kind_of(queues: Collection[str]) -> str:
    """A worker that reads only the second door applies nothing: however many of them live, they are no `worker`."""
    return "worker" if topology.TASK_QUEUE in queues else "results-worker"


class WorkerHeart:
    """The thread speaks for the worker's loop, and says so when that has not been heard of."""

    def __init__(self) -> None:
        self._connected_at = 0.0
        self._thread: threading.Thread | None = None

    def connected(self, **_: object) -> None:
        """Celery's loop runs and holds a connection to the broker: it sends its own heartbeat every other second."""
        self._connected_at = time.monotonic()

    def start(self, sender: Any, **_: object) -> None:
        """Once per worker, when its consumer (the sender) is ready; a reconnect is `ready` again."""
        self.connected()
        if self._thread is None:
            heart = Heart(kind_of(sender.app.amqp.queues.consume_from))
            self._thread = threading.Thread(target=self._run, args=(heart,), name="worker-heart", daemon=True)
            self._thread.start()

    def _run(self, heart: Heart) -> None:
        while True:
            silent = time.monotonic() - self._connected_at
            heart.beat("takes no messages: busy, or cut off from the broker" if silent > DEAD_AFTER_SECONDS else "")
            # Not kept: the pool's processes are forked beside this thread and must not inherit a connection.
            connections.close_all()
            time.sleep(INTERVAL_SECONDS)


_heart = WorkerHeart()
signals.heartbeat_sent.connect(_heart.connected)
signals.worker_ready.connect(_heart.start)
