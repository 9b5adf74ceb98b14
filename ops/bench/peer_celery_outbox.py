"""django-celery-outbox as its own documentation runs it, confirms on: how fast its relay empties its table."""

import os
import subprocess
import time

import amqp
from private import ROOT
from rig import Rig

QUEUE = "peer.celery_outbox"


class CeleryOutbox:
    def __init__(self, python: str, rig: Rig) -> None:
        self.python, self.rig = python, rig
        self.environment = {
            **os.environ, "DJANGO_SETTINGS_MODULE": "celery_outbox_settings", "PYTHONPATH": str(ROOT / "ops/bench/peers"),
        }  # fmt: skip
        self._run("-m", "django", "migrate", "--verbosity", "0")
        with amqp.Connection(**rig.broker) as broker:
            arguments = {"x-queue-type": "quorum"}
            broker.channel().queue_declare(QUEUE, durable=True, auto_delete=False, arguments=arguments)

    def rate(self, count: int) -> float:
        """From the first message in the queue to the last, so that the start of its process is not counted."""
        with amqp.Connection(**self.rig.broker) as broker:
            channel = broker.channel()
            channel.queue_purge(QUEUE)
            self._run("ops/bench/peers/celery_outbox_fill.py", str(count))
            relay = subprocess.Popen(
                [self.python, "-m", "django", "celery_outbox_relay"],
                env=self.environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                first, there = 0.0, 0
                until = time.perf_counter() + 120
                while there < count and time.perf_counter() < until:
                    there = channel.queue_declare(QUEUE, passive=True).message_count
                    if there and not first:
                        first, before = time.perf_counter(), there
                    time.sleep(0.01)
                assert there == count, f"django-celery-outbox sent {there} of {count}"
                return (count - before) / (time.perf_counter() - first)
            finally:
                relay.terminate()
                relay.wait(30)

    def _run(self, *arguments: str) -> None:
        command = [self.python, *arguments]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed\n{done.stderr[-2000:]}")
