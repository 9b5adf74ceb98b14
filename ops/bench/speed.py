"""Issue 4, "Must show" 1 and 2: rates side by side, in interleaved rounds."""

import contextlib
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


def speed(rig: Rig, rounds: int, count: int) -> None:
    measured = interleaved(
        {
            "ours": lambda: rig.rate(contestants.ours, count),
            "raw": lambda: rig.rate(contestants.raw, count),
            "one by one": lambda: rig.rate(contestants.one_by_one, count // 10),
            "hot": lambda: rig.rate(contestants.ours, count, keys="'hot'"),
        },
        rounds,
    )
    ours = measured["ours"]
    compare("ours / raw ceiling", ours, measured["raw"], "events/s", want=">= 0.7")
    compare("ours / one-by-one confirms", ours, measured["one by one"], "events/s", want=">= 6")
    compare("one hot key / many keys", measured["hot"], ours, "events/s", want=">= 0.6")


def two(rig: Rig, rounds: int, count: int) -> None:
    """One relay and two, near the broker and ten milliseconds away from it, each by a network of its own."""
    busy: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        far = [
            {"BROKER_URL": stack.enter_context(SlowProxy(os.environ["BROKER_URL"], ROUND_TRIP_SECONDS, 5672)).url}
            for _ in range(2)
        ]

        def run(name: str, environments: list[dict[str, str]], batch: int = BATCH) -> float:
            worked = rig.relays(environments, count, batch)
            busy.setdefault(name, []).append(worked.cores_busy)
            return worked.rate

        measured = interleaved(
            {
                "one": lambda: run("one", [{}]),
                "two": lambda: run("two", [{}, {}]),
                "one far": lambda: run("one far", far[:1]),
                "two far": lambda: run("two far", far),
                "one far, 100": lambda: run("one far, 100", far[:1], 100),
                "two far, 100": lambda: run("two far, 100", far, 100),
            },
            rounds,
        )
    for name, want, far_away in (
        ("two relays / one relay", ">= 1", ""),
        ("the same, broker 10 ms away", ">= 1.7", " far"),
        ("the same, batches of 100", ">= 1.7", " far, 100"),
    ):
        one, both = f"one{far_away}", f"two{far_away}"
        compare(name, measured[both], measured[one], "events/s", want=want)
        # Upper bounds, beyond which no relay helps, only a larger machine: by its CPU, and by what it does with no network.
        cores, alone, together = os.cpu_count() or 1, statistics.median(busy[one]), statistics.median(busy[both])
        bounds = f"at most {cores / alone:.2f} times as much fits here"
        if far_away:
            near = statistics.median(measured["two"]) / statistics.median(measured[one])
            bounds += f"; without the ten milliseconds two bring {near:.2f} times as much"
        print(f"  busy {alone:.2f} and {together:.2f} of {cores} cores: {bounds}")


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


def interleaved(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Every other round backwards: what slows the machine for a while does not always meet the same one."""
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            measured[name].append(runs[name]())
    return measured
