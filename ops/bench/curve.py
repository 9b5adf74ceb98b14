"""1, 2 and 4 relays, workers and web processes, near their servers and with a network in between, which a model predicts.

    python ops/bench/curve.py [--only relay worker web] [--rounds 3] [--round-trip-ms 2 10]
    python ops/bench/curve_plot.py FILE PICTURE.png

Near, everything goes through the same proxies with no delay, so that their CPU is in both. The model knows what the machine does
near with so many at work, the round trips that a unit of work makes (counted near) and how long one takes; it is never shown a
far run. See `predict`.
"""

# ruff: noqa: PLC0415 - Django's settings name the database, which is made first

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import psycopg2
from crew import at_a_word
from private import ROOT, django, servers
from slow_proxy import SlowProxy

PROCESSES = (1, 2, 4)
WEB_SECONDS = 3.0
# What a benchmark of the model counts as met.
WITHIN = 0.20


class Network:
    """The way to both servers: a proxy before each."""

    def __init__(self, database: SlowProxy, broker: SlowProxy) -> None:
        self.database, self.environment = database, {"DATABASE_URL": database.url, "BROKER_URL": broker.url}
        self._round_trips: dict[int, float] = {}

    def round_trip(self, at_once: int = 1) -> float:
        """A small question and its answer, in seconds, the median, where so many ask at once: a proxy's own work is in it."""
        if at_once not in self._round_trips:
            with ThreadPoolExecutor(at_once) as threads:
                times = list(threads.map(lambda _: self._ask(40), range(at_once)))
            self._round_trips[at_once] = statistics.median(time for some in times for time in some)
        return self._round_trips[at_once]

    def _ask(self, often: int) -> list[float]:
        times = []
        with contextlib.closing(psycopg2.connect(self.database.url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for _ in range(often):
                started = time.perf_counter()
                cursor.execute("SELECT 1")
                times.append(time.perf_counter() - started)
        return times


@contextlib.contextmanager
def network(delay_seconds: float) -> Iterator[Network]:
    with (
        SlowProxy(os.environ["DATABASE_URL"], delay_seconds, 5432) as database,
        SlowProxy(os.environ["BROKER_URL"], delay_seconds, 5672) as broker,
    ):
        yield Network(database, broker)


@dataclass
class Run:
    """`rate` is in the part's unit and `units` of work, which all begin anew with a round trip, a second."""

    rate: float
    units: float
    round_trips: float


class Relays:
    """Each claims a batch, publishes it, waits for the confirms, settles: one at work is one relay, a unit of work is a batch."""

    name, unit, abreast = "relay", "events/s", 1
    # All of a batch is under way before the first confirm is waited for.
    broker_round_trips = 1

    def __init__(self) -> None:
        from rig import BATCH, Rig

        self.rig, self.batch = Rig(), BATCH

    def run(self, processes: int, at_work: int, where: Network) -> Run:
        assert at_work == processes
        count, trips = 15_000 * (processes + 1), [0]
        begin = lambda: trips.__setitem__(0, where.database.round_trips())  # noqa: E731
        worked = self.rig.relays([where.environment] * processes, count, before=begin)
        units = count / self.batch
        return Run(worked.rate, units / worked.seconds, (where.database.round_trips() - trips[0]) / units)


class Workers:
    """Each claims a batch of results and applies it: one at work is one worker, a unit of work is a result."""

    name, unit, abreast, broker_round_trips = "worker", "results/s", 1, 0

    def __init__(self) -> None:
        from results import Worker

        self.bench = Worker(os.environ["DATABASE_URL"])

    def run(self, processes: int, at_work: int, where: Network) -> Run:
        assert at_work == processes
        count, trips = 4_000 * processes, [0]
        self.bench.fresh(count)
        begin = lambda: trips.__setitem__(0, where.database.round_trips())  # noqa: E731
        command = [sys.executable, __file__, "--apply", "600"]
        worked = at_a_word(command, [where.environment] * processes, begin)
        assert worked.done == count, worked
        return Run(worked.rate, worked.rate, (where.database.round_trips() - trips[0]) / worked.done)


class Web:
    """POST /transactions: one at work is one of the four threads of a process, a unit of work is a request."""

    name, unit, abreast, broker_round_trips = "web", "requests/s", 4, 0

    def __init__(self) -> None:
        import api

        self.api, self.folder = api, tempfile.mkdtemp(prefix="curve-")
        system = api.System("ours", os.environ["DATABASE_URL"], self.folder)
        self.key = system.manage("create_api_client", "curve").split()[-1]
        self.body = json.dumps(api.BODY).encode()

    def make(self) -> bytes:
        return self.api.post("/api/v1/transactions", self.body, self.key)

    def run(self, processes: int, at_work: int, where: Network) -> Run:
        system = self.api.System("ours", where.environment["DATABASE_URL"], self.folder)
        system.environment |= {"WEB_WORKERS": str(processes), "WEB_THREADS": str(self.abreast)}
        with system.serving():
            time.sleep(2.5)
            # The connections that are opened now stay where they are accepted, as those of the run will.
            self.api.run(self.api.PORTS["ours"], at_work, self.api.WARM_UP_SECONDS, self.make)
            trips = where.database.round_trips()
            done = self.api.run(self.api.PORTS["ours"], at_work, WEB_SECONDS, self.make)
            if done.refused:
                raise SystemExit(f"{len(done.refused)} refused, first: {done.refused[0][:800]!r}")
            return Run(done.rate, done.rate, (where.database.round_trips() - trips) / len(done.latencies))


PARTS = {"relay": Relays, "worker": Workers, "web": Web}


def predict(near: dict[int, float], at_work: int, waiting: float) -> float:
    """Units of work a second of `at_work` that each wait so many seconds (the network) in every unit.

    `near`: units a second with so many at work and no network; between two of them a straight line. A closed network of two
    stations: the delay, and the machine as one server whose rate depends on how many are there (a flow-equivalent server: Chandy,
    Herzog and Woo, "Parametric analysis of queuing networks", 1975).
    """
    points = sorted({0: 0.0, **near}.items())

    def rate(present: int) -> float:
        for (below, low), (above, high) in pairwise(points):
            if present <= above:
                return low + (high - low) * (present - below) / (above - below)
        return points[-1][1]

    weights = [1.0]
    for present in range(1, at_work + 1):
        arriving = (at_work - present + 1) / waiting
        weights.append(weights[-1] * arriving / rate(present))
    return sum(weight * rate(present) for present, weight in enumerate(weights) if present) / sum(weights)


@dataclass
class Point:
    """One measured rate; `predicted` is None near the servers."""

    part: str
    processes: int
    round_trip_ms: float
    measured: float
    predicted: float | None
    unit: str

    def show(self) -> None:
        many = "processes" if self.processes > 1 else "process"
        line = (
            f"{self.part:7} {self.processes} {many:9} {self.round_trip_ms:4.0f} ms {self.measured:9.0f} {self.unit:10}"
        )
        if self.predicted is not None:
            line += f" predicted {self.predicted:8.0f}  {self.predicted / self.measured - 1:+.0%}"
        print(line, flush=True)

    def line(self) -> str:
        ratio = self.predicted and round(self.predicted / self.measured, 3)
        figures = {
            "ours": round(self.measured, 1),
            "other": self.predicted and round(self.predicted, 1),
            "ratio": ratio,
        }
        return json.dumps(
            {"bench": f"curve.{self.part}.{self.processes}.{self.round_trip_ms:g}ms", **figures, "unit": self.unit}
        )


def plan(part: type, delays: list[float]) -> list[tuple[float, int, int]]:
    """The runs of a round: milliseconds, processes, how many at work. Near, fewer at work than there are threads too."""
    runs = []
    for processes in PROCESSES:
        full = processes * part.abreast
        runs += [(0.0, processes, at_work) for at_work in (1, 2, 4, 8) if part.abreast > 1 and at_work < full]
        runs += [(delay, processes, full) for delay in (0.0, *delays)]
    return runs


def curve(part: type, rounds: int, delays: list[float]) -> list[Point]:
    """Interleaved rounds; what the figures are is the median."""
    bench = part()
    done: dict[tuple[float, int, int], list[Run]] = {}
    with contextlib.ExitStack() as stack:
        ways = {delay: stack.enter_context(network(delay / 1000)) for delay in (0.0, *delays)}
        for way in ways.values():
            for processes in PROCESSES:
                way.round_trip(processes * part.abreast)
        for number in range(rounds):
            for delay, processes, at_work in plan(part, delays)[:: -1 if number % 2 else 1]:
                print(
                    f"{part.name}: round {number + 1} of {rounds}, {processes} at {delay:g} ms …",
                    file=sys.stderr,
                    flush=True,
                )
                run = bench.run(processes, at_work, ways[delay])
                done.setdefault((delay, processes, at_work), []).append(run)
    rate, units = (
        {key: statistics.median(getattr(run, what) for run in runs) for key, runs in done.items()}
        for what in ("rate", "units")
    )
    trips = statistics.median(run.round_trips for (delay, _, _), runs in done.items() if not delay for run in runs)
    print(
        f"{part.name}: {trips:.2f} round trips to the database in a unit of work, {part.broker_round_trips} to the broker"
    )
    points = []
    for delay in (0.0, *delays):
        for processes in PROCESSES:
            key, predicted = (delay, processes, processes * part.abreast), None
            if delay:
                # Threads of one process are near each other; of relays each is a process.
                near = {
                    at: found
                    for (far, n, at), found in units.items()
                    if not far and n in ((processes,) if part.abreast > 1 else PROCESSES)
                }
                waiting = (trips + part.broker_round_trips) * (
                    ways[delay].round_trip(key[2]) - ways[0.0].round_trip(key[2])
                )
                predicted = predict(near, key[2], waiting) * rate[key] / units[key]
            points.append(Point(part.name, processes, delay, rate[key], predicted, part.unit))
            points[-1].show()
    return points


def apply(budget_seconds: float) -> None:
    """A worker in a process of its own: warm, then at a word."""
    sys.path.insert(0, str(ROOT))
    import django as framework

    framework.setup()
    from webhooks.models import InboxMessage
    from webhooks.services import apply_due

    InboxMessage.objects.first()
    print("ready", flush=True)
    sys.stdin.readline()
    print(apply_due(budget_seconds=budget_seconds)["applied"], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--round-trip-ms", nargs="+", type=float, default=[2.0, 10.0])
    parser.add_argument("--apply", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.apply:
        apply(options.apply)
        return
    points: list[Point] = []
    with servers("curve"):
        django()
        for name in options.only:
            points += curve(PARTS[name], 1 if options.quick else options.rounds, options.round_trip_ms)
    print(*(point.line() for point in points), sep="\n")
    missed = [point for point in points if point.predicted and abs(point.predicted / point.measured - 1) > WITHIN]
    print(f"{len(missed)} of the predictions are more than {WITHIN:.0%} away from what was measured")


if __name__ == "__main__":
    main()
