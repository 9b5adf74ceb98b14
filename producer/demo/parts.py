"""The processes of the whole system, as the demo starts them. ops/Procfile and docker-compose.yml list the same."""

import sys
from dataclasses import dataclass
from pathlib import Path

from producer.demo.environment import ROOT

CONSUMER_FOLDER = ROOT / "consumer"
GUNICORN_CONF = ROOT / "ops" / "gunicorn.conf.py"

# Stopped first: what asks for work. Stopped last: the web servers, which a finishing worker may still need.
WAVE_WORKERS = 1
WAVE_WEB = 2


@dataclass(frozen=True)
class Part:
    name: str
    command: tuple[str, ...]
    wave: int = WAVE_WORKERS
    listens: bool = False
    of_consumer: bool = False

    @property
    def folder(self) -> Path:
        return CONSUMER_FOLDER if self.of_consumer else ROOT


def manage(*arguments: str) -> tuple[str, ...]:
    """Works in either project: each has its own manage.py in its folder."""
    return (sys.executable, "manage.py", *arguments)


def web(descriptor: int) -> Part:
    return Part("web", _gunicorn("producer.wsgi:application", descriptor), WAVE_WEB, listens=True)


def consumer_web(descriptor: int) -> Part:
    command = _gunicorn("reference.wsgi:application", descriptor)
    return Part("consumer-web", command, WAVE_WEB, listens=True, of_consumer=True)


def workers(run: int) -> list[Part]:
    """`run` makes node names unique: an old node may still hold its reply queue at the broker for a while."""
    beat = ("celery", "-A", "producer", "beat", "--pidfile=")
    return [
        Part("worker", _worker("producer", f"producer-{run}", "producer.tasks.v1,producer.results.v1")),
        Part("beat", (sys.executable, "-m", *beat)),
        Part("relay", manage("relay")),
    ]


def consumer_worker(run: int) -> Part:
    return Part(
        "consumer-worker", _worker("reference", f"consumer-{run}", "consumer.transactions.v1"), of_consumer=True
    )


def _gunicorn(application: str, descriptor: int) -> tuple[str, ...]:
    return (sys.executable, "-m", "gunicorn", "-c", str(GUNICORN_CONF), application, "--bind", f"fd://{descriptor}")


def _worker(application: str, name: str, queues: str) -> tuple[str, ...]:
    # Threads and not processes: stops cleanly, starts fast, and needs half the memory.
    options = ("-n", f"{name}@%h", "-Q", queues, "-P", "threads", "-c", "2", "--without-gossip", "--without-mingle")
    return (sys.executable, "-m", "celery", "-A", application, "worker", *options)
