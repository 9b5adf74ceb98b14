"""Wake-ups: at once on a quiet system, seldom in a stream, and none lost."""

import threading
import time

import pytest

from outbox import wakeup
from outbox.wakeup import Coalescer
from tests.stack import free_port


def test_the_first_poke_acts_at_once_and_a_stream_is_thinned_out():
    acted = []
    done = threading.Event()

    def action():
        acted.append(time.monotonic())
        done.set()

    waker = Coalescer("test", action, min_interval=0.001, per_second=20, at_once=3)
    waker.poke()
    assert done.wait(10)
    started = time.monotonic()
    while time.monotonic() - started < 0.5:
        waker.poke()
        time.sleep(0.001)
    # At most three at once and then 20 a second: a loaded machine makes it fewer, never more.
    assert len(acted) <= 1 + 3 + 20 * (time.monotonic() - started)


def test_who_takes_a_wake_up_for_himself_has_it_counted():
    acted = threading.Event()
    waker = Coalescer("test", acted.set, min_interval=0.0, per_second=0.001, at_once=3)
    assert [waker.take() for _ in range(4)] == [True, True, True, False]
    waker.poke()
    # The next token comes in a quarter of an hour.
    assert not acted.wait(0.2)


def test_in_a_stream_both_ways_together_keep_the_rate():
    acted, taken = [], 0
    waker = Coalescer("test", lambda: acted.append(1), min_interval=0.0, per_second=20, at_once=1)
    started = time.monotonic()
    while (lasted := time.monotonic() - started) < 0.5:
        if waker.take():
            taken += 1
        else:
            waker.poke()
        time.sleep(0.001)
    # The thread's own look at the clock may come a moment after this loop's last.
    assert 1 < taken + len(acted) <= 1 + 20 * lasted + 1


def test_a_ring_after_somebody_took_the_wake_up_still_rings(monkeypatch):
    acted, waker = threading.Event(), None

    def sleep_and_be_overtaken(seconds, sleep=time.sleep):
        monkeypatch.undo()
        # Longer than it wants: somebody else is quicker, and a commit of a third comes after his.
        sleep(seconds + 0.01)
        assert waker.take()
        waker.poke()

    waker = Coalescer("test", acted.set, min_interval=0.0, per_second=50, at_once=1)
    assert waker.take()
    monkeypatch.setattr("outbox.wakeup.time.sleep", sleep_and_be_overtaken)
    waker.poke()
    assert acted.wait(10)


def test_none_may_be_taken_sooner_than_the_shortest_interval():
    waker = Coalescer("test", lambda: None, min_interval=60, per_second=1000, at_once=3)
    assert [waker.take() for _ in range(2)] == [True, False]


def test_a_poke_during_the_action_is_not_lost():
    acting, go_on, again = threading.Event(), threading.Event(), threading.Event()
    runs = []

    def action():
        runs.append(1)
        acting.set()
        if len(runs) == 2:
            again.set()
        assert go_on.wait(10)

    waker = Coalescer("test", action, min_interval=0.001)
    waker.poke()
    assert acting.wait(10)
    waker.poke()
    go_on.set()
    assert again.wait(10)


@pytest.mark.postgres
@pytest.mark.django_db
def test_that_it_cannot_listen_is_said_once_and_again_after_it_could(settings, caplog):
    caplog.set_level("WARNING", "outbox.wakeup")
    there = settings.OUTBOX_LISTEN_DATABASE
    listener = wakeup.Listener(poll_seconds=0.001)
    for where, said in (
        ({"PORT": str(free_port())}, 1),
        ({"PORT": str(free_port())}, 1),
        (there, 1),
        ({"PORT": str(free_port())}, 2),
    ):
        listener.close()
        settings.OUTBOX_LISTEN_DATABASE = {**there, **where}
        listener.wait(0.001)
        assert caplog.text.count("cannot listen for wake-ups") == said
    listener.close()
