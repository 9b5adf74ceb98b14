"""Issue 4, "Must show" 1 and 2: rates side by side, in interleaved rounds."""

import os
import statistics
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import contestants
from peer_celery_outbox import CeleryOutbox
from private import peer_python
from report import compare
from rig import Rig
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
    """One relay and two, near the broker and ten milliseconds away from it."""
    where = urlsplit(os.environ["BROKER_URL"])
    proxy = SlowProxy(where.hostname or "127.0.0.1", where.port or 5672, ROUND_TRIP_SECONDS)
    far = urlunsplit(where._replace(netloc=f"{where.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}"))
    busy: dict[str, list[float]] = {}

    def run(name: str, processes: int, *where: str | int) -> float:
        rate = rig.relays(processes, count, *where)
        busy.setdefault(name, []).append(rig.cores_busy)
        return rate

    measured = interleaved(
        {
            "one": lambda: run("one", 1),
            "two": lambda: run("two", 2),
            "one far": lambda: run("one far", 1, far),
            "two far": lambda: run("two far", 2, far),
            "one far, 100": lambda: run("one far, 100", 1, far, 100),
            "two far, 100": lambda: run("two far, 100", 2, far, 100),
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
        # An upper bound by CPU alone: beyond it no relay helps, only a larger machine.
        cores, alone = os.cpu_count() or 1, statistics.median(busy[one])
        together = statistics.median(busy[both])
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


def interleaved(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Every other round backwards: what slows the machine for a while does not always meet the same one."""
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            measured[name].append(runs[name]())
    return measured
