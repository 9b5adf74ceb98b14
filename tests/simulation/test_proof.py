"""The simulation can fail: it is run over bugs, and must notice each of them."""

import pytest

from tests.simulation.invariants import Broken
from tests.simulation.scheduler import StuckError
from tests.simulation.seeded import named, seeded
from tests.simulation.test_simulation import run
from tests.simulation.wiring import simulated

# Each bug of tests/mutants that the simulated parts hold, and the faults without which it does no harm.
BUGS = {
    "confirms-off": ["broker down"],
    "mark-before-confirm": ["broker down"],
    "settle-without-fence": ["freeze", "broker frozen"],
    "no-order-guard": ["kill"],
    "cursor-on-id": ["freeze"],
    "horizon-never-rescans": ["kill", "freeze"],
    "backoff-by-the-process-clock": ["no route", "process clock"],
    "lease-never-handed-back": ["broker down"],
    "attempt-burned-by-the-broker": ["broker down"],
    "overtaken-stays-confirmed": ["queue full"],
    "nack-counts-as-confirm": ["queue full"],
    "return-forgotten-at-its-ack": ["no route"],
    "redirect-counts-as-delivered": ["webhook"],
    "order-ignored-by-webhook": ["webhook"],
    "inbox-in-another-transaction": ["kill", "database cut"],
    "no-version-check": ["duplicates"],
    "terminal-overwritten": ["duplicates"],
    "deduplicated-by-content": ["duplicates"],
    "copy-waits-again": ["duplicates"],
    "inbox-without-fence": ["freeze", "process clock"],
    "transaction-not-locked": ["freeze", "duplicates"],
}
SCHEDULES = 1000

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", BUGS)
@pytest.mark.timeout(300)
def test_a_seeded_bug_is_noticed(name):
    with seeded(named(name)), simulated():
        for seed in range(SCHEDULES):
            try:
                run(seed, BUGS[name])
            except (Broken, StuckError):
                return
    raise AssertionError(f"{name} was not noticed in {SCHEDULES} schedules")


@pytest.mark.parametrize("kinds", sorted({tuple(kinds) for kinds in BUGS.values()}))
def test_the_same_schedules_without_the_bug_are_in_order(kinds):
    with simulated():
        for seed in range(20):
            run(seed, kinds)
