"""The background thread: one per process, anew after a fork, stops when told, survives a defect."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError

from processing import courier, in_worker, sweep


@pytest.fixture(autouse=True)
def own_courier(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    settings.COURIER = True
    monkeypatch.setattr(courier, "_courier", None)
    # The thread must not open a database of its own here.
    monkeypatch.setattr(courier, "close_old_connections", lambda: None)
    yield
    courier.stop()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts passes; each is one permit."""
    counted = threading.Semaphore(0)

    def run_once(_: threading.Event) -> int:
        counted.release()
        return 0

    monkeypatch.setattr(sweep, "run_once", run_once)
    return counted


def test_one_thread_per_process_however_often_it_is_started(passes: threading.Semaphore) -> None:
    courier.ensure_started()
    first = courier._courier
    courier.ensure_started()
    assert courier._courier is first
    assert [thread.name for thread in threading.enumerate()].count("courier") == 1


def test_a_wake_up_causes_a_pass_without_waiting(passes: threading.Semaphore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "IDLE_SECONDS", 3600.0)
    courier.ensure_started()
    assert passes.acquire(timeout=5)
    courier.wake()
    assert passes.acquire(timeout=5)


def test_a_stop_ends_the_thread_and_it_stays_ended(
    passes: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "IDLE_SECONDS", 3600.0)
    courier.ensure_started()
    assert courier._courier is not None
    thread = courier._courier.thread
    courier.stop()
    assert not thread.is_alive()
    courier.wake()
    assert not courier._courier.thread.is_alive()


def test_a_child_after_a_fork_starts_its_own(passes: threading.Semaphore, monkeypatch: pytest.MonkeyPatch) -> None:
    courier.ensure_started()
    parents = courier._courier
    assert parents is not None
    with monkeypatch.context() as in_child:
        in_child.setattr(os, "getpid", lambda: parents.pid + 1)
        courier.ensure_started()
        childs = courier._courier
        courier.stop()
    assert childs is not None
    assert childs is not parents
    assert not childs.thread.is_alive()
    assert parents.thread.is_alive()
    parents.stopping.set()
    parents.wake.set()
    parents.thread.join(5)


@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("defect")])
def test_the_thread_survives_an_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    second = threading.Event()
    calls: list[int] = []

    def run_once(_: threading.Event) -> int:
        calls.append(1)
        if len(calls) == 1:
            raise error
        second.set()
        return 0

    monkeypatch.setattr(sweep, "run_once", run_once)
    monkeypatch.setattr(courier, "ERROR_SECONDS", 0.0)
    courier.ensure_started()
    assert second.wait(5)


def test_it_can_be_switched_off(passes: threading.Semaphore, settings: Any) -> None:
    settings.COURIER = False
    courier.wake()
    assert courier._courier is None


@pytest.mark.parametrize(
    ("pool", "starts"),
    [("celery.concurrency.prefork:TaskPool", False), (in_worker.PreforkPool, False), (object, True), ("threads", True)],
)
def test_only_a_worker_that_does_not_fork_starts_one_in_its_main_process(
    monkeypatch: pytest.MonkeyPatch, pool: Any, starts: bool
) -> None:
    started: list[bool] = []
    monkeypatch.setattr(courier, "ensure_started", lambda: started.append(True))
    in_worker.start_in_worker(sender=type("Worker", (), {"pool_cls": pool})())
    assert bool(started) == starts
