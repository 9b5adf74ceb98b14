"""A worker says what it is good for: who reads the tasks applies results, who reads only the second door does not."""

import os
import socket
from types import SimpleNamespace

import pytest
from celery import Celery

from outbox import topology
from outbox.models import ProcessState
from producer import worker_heart
from producer.celery import app
from producer.worker_heart import WorkerHeart
from tests.producer.test_metrics import scrape

pytestmark = pytest.mark.django_db


class AtOnce:
    """A thread that runs where it is started."""

    def __init__(self, target, args, **_):
        self.start = lambda: target(*args)


class OverError(Exception):
    """Instead of the pause between two beats."""


@pytest.fixture
def beaten(monkeypatch):
    """The kind that a worker with these queues has after its first beat."""

    def pause(seconds):
        raise OverError

    monkeypatch.setattr(worker_heart.threading, "Thread", AtOnce)
    monkeypatch.setattr(worker_heart.time, "sleep", pause)
    monkeypatch.setattr(worker_heart, "connections", SimpleNamespace(close_all=lambda: None))

    def beaten(queues, stopping=()):
        its = Celery("a worker", task_create_missing_queues=False, set_as_current=False)
        its.conf.task_queues = app.conf.task_queues
        # What `-Q` does, and what its absence leaves.
        its.amqp.queues.select(queues)
        heart = WorkerHeart()
        with pytest.raises(OverError):
            heart.start(sender=SimpleNamespace(app=its))
        for signal in stopping:
            getattr(heart, signal)(sender=None)
        return ProcessState.objects.first()

    return beaten


@pytest.mark.parametrize(
    ("queues", "kind"),
    [
        ([topology.TASK_QUEUE], "worker"),
        ([topology.TASK_QUEUE, topology.RESULT_QUEUE], "worker"),
        (None, "worker"),
        ([topology.RESULT_QUEUE], "results-worker"),
    ],
)
def test_its_kind_is_told_by_the_queues_that_it_reads(beaten, queues, kind, client):
    state = beaten(queues)
    assert (state.kind, state.name) == (kind, f"{kind}@{socket.gethostname()}:{os.getpid()}")
    found = scrape(client)
    alive = {name: found[("processes_alive", name)] for name in ("worker", "results-worker")}
    assert alive == {"worker": 0, "results-worker": 0} | {kind: 1}


@pytest.mark.parametrize(
    ("queue", "stopping", "missed"),
    [
        (topology.RESULT_QUEUE, ["told", "ended"], False),
        # By an error of its own.
        (topology.RESULT_QUEUE, ["ended"], True),
        # Somebody must apply results, whoever told this one to stop.
        (topology.TASK_QUEUE, ["told", "ended"], True),
    ],
)
def test_a_worker_of_the_second_door_that_is_told_to_stop_is_not_missed(beaten, queue, stopping, missed):
    assert (beaten([queue], stopping) is not None) == missed
