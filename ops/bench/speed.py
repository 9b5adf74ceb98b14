"""Issue 4, "Must show" 1 and 2: rates side by side, in interleaved rounds."""

import contextlib
import functools
import os
import statistics
from collections.abc import Callable

import contestants
from peer_celery_outbox import CeleryOutbox
from private import peer_python
from report import compare
from rig import BATCH, Rig
from slow_proxy import SlowProxy

# A round trip between two machines of one data centre, seen from an application.
ROUND_TRIP_SECONDS = 0.010
# Of 500 events, a batch's way through this machine takes six times as long as the network; of 25, less than half.
FAR_BATCHES = (500, 100, 25)

Rates = dict[str, list[float]]


def speed(rig: Rig, rounds: int, count: int) -> None:
    measured = interleaved(
        {
            "ours": lambda: rig.rate(contestants.ours, count),
            "raw": lambda: rig.rate(contestants.raw, count),
            "raw plain": lambda: rig.rate(contestants.raw_plain, count, contestants.plain),
            "one by one": lambda: rig.rate(contestants.one_by_one, count // 10),
            "hot": lambda: rig.rate(contestants.ours, count, keys="'hot'"),
        },
        rounds,
    )
    ours = measured["ours"]
    compare("ours / raw ceiling", ours, measured["raw"], "events/s", want=">= 0.7")
    compare("ours / raw ceiling on a plain table", ours, measured["raw plain"], "events/s", want=">= 0.7")
    compare("ours / one-by-one confirms", ours, measured["one by one"], "events/s", want=">= 6")
    fits = [best / slow for best, slow in zip(measured["raw plain"], measured["one by one"], strict=True)]
    print(f"  the raw ceiling on a plain table is {statistics.median(fits):.2f} times as fast as one-by-one here")
    compare("one hot key / many keys", measured["hot"], ours, "events/s", want=">= 0.6")


def two(rig: Rig, rounds: int, count: int) -> None:
    """One relay and two, near the broker and ten milliseconds away from it, each by a network of its own.

    The smaller a batch, the more of a relay's time is the network's and not this machine's: the last row is what relays on
    machines of their own bring, the others what the cores shared with the broker and the database leave of it.
    """
    busy: Rates = {}
    with contextlib.ExitStack() as stack:
        far = [
            {"BROKER_URL": stack.enter_context(SlowProxy(os.environ["BROKER_URL"], ROUND_TRIP_SECONDS, 5672)).url}
            for _ in range(2)
        ]

        def run(name: str, environments: list[dict[str, str]], batch: int) -> float:
            # As many batches each time.
            worked = rig.relays(environments, count * batch // BATCH, batch)
            busy.setdefault(name, []).append(worked.cores_busy)
            return worked.rate

        near = {"one": ([{}], BATCH), "two": ([{}, {}], BATCH)}
        away = {
            f"{name} far, {batch}": (environments, batch)
            for batch in FAR_BATCHES
            for name, environments in (("one", far[:1]), ("two", far))
        }
        measured = interleaved(
            {name: functools.partial(run, name, *contestant) for name, contestant in (near | away).items()}, rounds
        )
    _compare_two("two relays / one relay", ">= 1", measured, busy)
    for batch in FAR_BATCHES:
        _compare_two(f"two / one, broker 10 ms away, batches of {batch}", ">= 1.7", measured, busy, f" far, {batch}")


def _compare_two(name: str, want: str, measured: Rates, busy: Rates, which: str = "") -> None:
    compare(name, measured[f"two{which}"], measured[f"one{which}"], "events/s", want=want)
    # An upper bound, beyond which no relay helps, only a larger machine.
    cores, alone, together = (
        os.cpu_count() or 1,
        statistics.median(busy[f"one{which}"]),
        statistics.median(busy[f"two{which}"]),
    )
    print(
        f"  busy {alone:.2f} and {together:.2f} of {cores} cores: at most {cores / alone:.2f} times as much fits here"
    )


def peers(rig: Rig, rounds: int, count: int) -> None:
    """Peers from PyPI, each in an environment of its own."""
    if python := peer_python("peers", "django-celery-outbox==0.4.3", "Django==5.2.*", "psycopg2-binary"):
        peer = CeleryOutbox(python, rig)
        measured = interleaved(
            {"ours": lambda: rig.rate(contestants.ours, count), "peer": lambda: peer.rate(count // 10)}, rounds
        )
        compare(
            "ours / django-celery-outbox, confirms on", measured["ours"], measured["peer"], "events/s", want=">= 10"
        )
    print("django-reliable-outbox is left out: it needs Python 3.12 and ships no RabbitMQ destination")


def interleaved(runs: dict[str, Callable[[], float]], rounds: int) -> Rates:
    """Every other round backwards: what slows the machine for a while does not always meet the same one."""
    measured: Rates = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            measured[name].append(runs[name]())
    return measured
