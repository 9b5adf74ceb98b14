"""Ten browsers cost as one: a value is computed once in a while, and nobody waits for a value that is there."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from producer.snapshot import Snapshot


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_within_its_time_a_value_is_computed_once():
    clock, numbers = Clock(), count()
    snapshot = Snapshot(lambda: next(numbers), 2, clock)
    assert [snapshot.get() for _ in range(10)] == [0] * 10
    clock.now += 2
    assert [snapshot.get() for _ in range(10)] == [1] * 10


def test_ten_that_ask_at_once_for_the_first_time_share_one_computation():
    numbers, barrier = count(), threading.Barrier(10)
    snapshot = Snapshot(lambda: next(numbers), 60)

    def ask(_):
        barrier.wait(5)
        return snapshot.get()

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(ask, range(10))) == [0] * 10


def test_while_one_computes_others_take_the_value_before():
    clock, started, go_on = Clock(), threading.Event(), threading.Event()
    values = iter(["old", "new"])

    def slow():
        value = next(values)
        if value == "new":
            started.set()
            assert go_on.wait(5)
        return value

    snapshot = Snapshot(slow, 2, clock)
    assert snapshot.get() == "old"
    clock.now += 3
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(snapshot.get)
        assert started.wait(5)
        assert snapshot.get() == "old"
        go_on.set()
        assert waiting.result(5) == "new"
    assert snapshot.get() == "new"


def test_a_failure_is_told_to_all_who_ask_meanwhile_and_then_tried_again():
    answers = iter([RuntimeError("away"), "fine"])
    clock = Clock()

    def compute():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    snapshot = Snapshot(compute, 2, clock)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            snapshot.get()
    clock.now += 2
    assert snapshot.get() == "fine"
