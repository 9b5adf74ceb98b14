"""F21 to F24: the network between us and broker and database is cut, silent, slow, and cut at each frame."""

import time
from collections import Counter

from tests.faults.proxy import DOWN, UP, Cutter
from tests.faults.row import BOTH, row
from tests.faults.streams import IN_A_CONFIRM, frame_boundaries, publishes_an_event
from tests.stack import wait_for


@row("F21", "Connections cut and reset, to broker and database", proxied=BOTH, recovery=30, quick=True)
def cut(run):
    world = run.world
    cuts = 0
    for number in range(6):
        proxy = (world.broker_proxy, world.db_proxy)[number % 2]
        cuts += proxy.cut(rst=run.random.random() < 0.7)
        if number >= 4:
            # Nobody listens for a while.
            proxy.refuse = True
            time.sleep(2)
            proxy.refuse = False
        world.burst(40)
        time.sleep(0.7)
    run.note(cut_connections=cuts)
    run.check(cuts >= 6, "hardly any connection was cut")


@row("F22", "A black hole: half-open connections, both ways and one way", proxied=BOTH, recovery=45)
def black_hole(run):
    world = run.world
    for proxy, directions in (
        (world.broker_proxy, {UP, DOWN}),
        (world.broker_proxy, {DOWN}),
        (world.db_proxy, {UP, DOWN}),
        (world.db_proxy, {DOWN}),
    ):
        world.burst(80)
        proxy.hold = directions
        if proxy is world.broker_proxy:
            # Longer than two heartbeats of ten seconds and five: everybody must have noticed.
            time.sleep(14)
        else:
            time.sleep(7)
        proxy.hold = set()
        time.sleep(2)


@row("F23", "A slow network: delays, single bytes, 20 kB a second", proxied=BOTH, rate=15, recovery=90)
def slow(run):
    world = run.world
    for proxy in (world.broker_proxy, world.db_proxy):
        scale = 1.0 if proxy is world.broker_proxy else 0.1
        proxy.delay = (0.1 * scale, 0.3 * scale)
        time.sleep(5)
        proxy.delay = (0.0, 0.0)
        proxy.slice_bytes = 1
        time.sleep(4)
        proxy.slice_bytes = 0
        proxy.bytes_per_second = 20_000
        time.sleep(4)
        proxy.bytes_per_second = 0


@row(
    "F24",
    "Cut at each boundary of an AMQP frame, one byte before and after, and in the confirm",
    proxied=("broker",),
    recovery=45,
    # The broker alone: else the fallback takes over, and hardly a frame is left to be cut.
    OUTBOX_FALLBACK_AFTER_SECONDS="600",
)
def cut_at_frames(run):
    cutter = Cutter(publishes_an_event, frame_boundaries, IN_A_CONFIRM, gap=0.2)
    run.world.broker_proxy.cutter = cutter
    # Eleven places in three frames, and 22 in the confirm: each at least once.
    wait_for(lambda: len(cutter.done) >= 34, 120, "34 cuts")
    run.world.broker_proxy.cutter = None
    run.note(cuts=len(cutter.done), places=len(set(cutter.done)))
    copies = Counter(event_id for event_id, _, _ in run.world.tap.seen)
    run.check(max(copies.values()) > 1, "no cut was late enough for the broker to have had the event")
