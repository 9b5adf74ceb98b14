"""Wake-ups: at once on a quiet system, seldom in a stream, and none lost."""

import threading
import time

from outbox.wakeup import Coalescer


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
