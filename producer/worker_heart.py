"""Says that a Celery worker is alive: from a thread of its main process, for Celery's loop must not wait for a database."""

import threading
import time
from collections.abc import Collection
from typing import Any

from celery import signals
from django.db import connections

from outbox import topology
from outbox.heartbeat import DEAD_AFTER_SECONDS, INTERVAL_SECONDS, Heart

WORKER, RESULTS_WORKER = "worker", "results-worker"
# How long a worker that stops waits for a word that is just being said (seconds); with the database away that is its time-outs.
LAST_WORD_SECONDS = 5.0


def kind_of(queues: Collection[str]) -> str:
    """A worker that reads only the second door applies nothing: however many of them live, they are no `worker`."""
    return WORKER if topology.TASK_QUEUE in queues else RESULTS_WORKER


class WorkerHeart:
    """The thread speaks for the worker's loop, and says so when that has not been heard of."""

    def __init__(self) -> None:
        self._connected_at = 0.0
        self._thread: threading.Thread | None = None
        self._heart: Heart | None = None
        self._kind = WORKER
        # Held while it speaks: whoever stops must have the last word.
        self._speaking = threading.Lock()
        self._told = self._over = False

    def connected(self, **_: object) -> None:
        """Celery's loop runs and holds a connection to the broker: it sends its own heartbeat every other second."""
        self._connected_at = time.monotonic()

    def start(self, sender: Any, **_: object) -> None:
        """Once per worker, when its consumer (the sender) is ready; a reconnect is `ready` again."""
        self.connected()
        if self._thread is None:
            self._kind = kind_of(sender.app.amqp.queues.consume_from)
            self._heart = heart = Heart(self._kind)
            self._thread = threading.Thread(target=self._run, args=(heart,), name="worker-heart", daemon=True)
            self._thread.start()

    def told(self, **_: object) -> None:
        """TERM or Ctrl-C. Within the signal's handler, so it only notes it."""
        self._told = True

    def ended(self, **_: object) -> None:
        """The last thing a worker does, also when it ends by an error of its own: then it was not told to, and is missed.

        The second door is a choice, as a standing relay is: without its workers all is well, unless they died. Somebody must
        apply results, so a `worker` is missed however it ended, and not before it was silent for a while: a restart is no news.
        """
        if self._told and self._heart is not None and self._kind == RESULTS_WORKER:
            said = self._speaking.acquire(timeout=LAST_WORD_SECONDS)
            self._over = True
            self._heart.stop()
            if said:
                self._speaking.release()

    def _run(self, heart: Heart) -> None:
        while True:
            silent = time.monotonic() - self._connected_at
            with self._speaking:
                if self._over:
                    return
                heart.beat("takes no messages: busy, or cut off from the broker" if silent > DEAD_AFTER_SECONDS else "")
            # Not kept: the pool's processes are forked beside this thread and must not inherit a connection.
            connections.close_all()
            time.sleep(INTERVAL_SECONDS)


_heart = WorkerHeart()
signals.heartbeat_sent.connect(_heart.connected)
signals.worker_ready.connect(_heart.start)
signals.worker_shutting_down.connect(_heart.told)
signals.worker_shutdown.connect(_heart.ended)
