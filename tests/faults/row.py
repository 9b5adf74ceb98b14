"""What a row of the matrix is, and how one is run: faults under load (safety), then none (liveness), then the verdict."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.checker import judge
from tests.faults.world import DRAIN_SECONDS, World

ROWS: dict[str, "Row"] = {}
# What a proxy may stand in front of.
BOTH = ("broker", "database")


@dataclass
class Row:
    """A fault of the matrix. `inject` makes it and heals it; the load goes on all the time.

    `recovery`: within how many seconds of the healing all that was on its way should have ended; a target, as it
    contains the Consumer's work on the backlog. The limit is DRAIN_SECONDS, as for everything.
    """

    number: str
    title: str
    inject: Callable[["Run"], None]
    recovery: float = 60.0
    options: dict = field(default_factory=dict)
    quick: bool = False
    # It needs a disk of its own of this size for the database.
    disk_mb: int = 0


def row(number: str, title: str, **options) -> Callable:
    """Registers a row; recovery, quick and the rest as in Row, everything else goes to World.begin."""
    own = {name: options.pop(name) for name in ("recovery", "quick", "disk_mb") if name in options}

    def register(inject: Callable[["Run"], None]) -> Callable[["Run"], None]:
        ROWS[number] = Row(number, title, inject, options=options, **own)
        return inject

    return register


@dataclass
class Run:
    """One run of a row: the world, a seeded random, and what the row wants to say in its line."""

    world: World
    random: random.Random
    notes: dict = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def check(self, holds: bool, otherwise: str) -> None:
        """A promise of this row beyond the checker's; a broken one makes the row red and does not end it."""
        if not holds:
            self.failures.append(otherwise)

    def note(self, **facts) -> None:
        self.notes.update(facts)


def run_row(
    world: World, row: Row, seed: int, mode: str = "both", seconds: float = 30.0, together: bool = False
) -> dict:
    """One line of the report. `mode`: safety (the fault over and over, nothing need drain), liveness, or both at once.

    `together`: in a system that goes on from row to row, with both proxies. The checker then judges all of it so far,
    so that whoever goes on after a red row must reset the world.
    """
    run = Run(world, random.Random(f"{row.number}/{seed}"))
    started = time.monotonic()
    if not together:
        world.begin(seed, **row.options)
    elif world.running():
        world.resume()
    else:
        world.begin(seed, proxied=BOTH)
    assert not together or row.options.keys() <= {"proxied"}, f"{row.number} needs settings of its own"
    run.note(in_flight=world.burst(220))
    until = time.monotonic() + (seconds if mode == "safety" else 0)
    while True:
        row.inject(run)
        # In the middle of it all, nothing may be lost, double or out of order either.
        if time.monotonic() >= until:
            break
        world.burst()
    left, recovery = world.drain() if mode != "safety" else (None, None)
    world.settle()
    verdict = judge(world.evidence(), drained=mode != "safety")
    if recovery is not None:
        run.note(target_s=row.recovery, left=left)
        run.check(recovery <= DRAIN_SECONDS, f"not drained {recovery} s after the last fault")
    answers = world.answers()
    unexpected = [entry for entry in answers if entry.get("status", 0) >= 500 and entry["status"] != 503]
    run.check(not unexpected, f"{len(unexpected)} answers with 5xx other than 503: {unexpected[:2]}")
    run.check(not world.tap.unread, f"the tap could not read {len(world.tap.unread)}: {world.tap.unread[:2]}")
    run.check(not world.unanswered, f"{world.unanswered} clients never had an answer")
    # By our hand they end with -9, or in good order; whatever ends with a code of its own has met a defect.
    ended = {name: [code for code in process.deaths if code > 0] for name, process in world.stack.processes.items()}
    run.check(
        not any(ended.values()),
        f"processes ended by themselves: { {name: codes for name, codes in ended.items() if codes} }",
    )
    differing = world.replay()
    run.check(not differing, f"{differing} replayed keys were answered otherwise than first")
    return {
        "fault": row.number,
        "seed": seed,
        **verdict.line(),
        "recovery_s": recovery,
        "mode": mode,
        **run.notes,
        "slowest_answer_ms": max((entry["ms"] for entry in answers), default=0),
        "deaths": {name: len(process.deaths) for name, process in world.stack.processes.items() if process.deaths},
        "seconds": round(time.monotonic() - started),
        **({"failures": run.failures} if run.failures else {}),
        "ok": not verdict.bad() and not run.failures,
    }
