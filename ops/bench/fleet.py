"""Simulates fleets that no one machine can run: what is full first, how long a transaction waits, how long a backlog drains.

    python ops/bench/fleet.py [--rate 1000] [--outage 30]

Each station works off its queue, first come first served, a millisecond at a time, as fast as its processes, the network and its
share of the database's cores let it. Costs are those measured here (docs/performance.md, docs/scaling.md); waits are without the
time of the work itself. The same seed, the same figures. It knows nothing of vacuum, of caches that run over, of locks: it says
what is certainly too little.
"""

import argparse
import math
import random
from collections import deque
from dataclasses import dataclass, field

# CPU in milliseconds. Database: create 0.65, result received 0.41, claim and settle 13.5 for 500, result applied 0.5.
TICK_SECONDS = 0.001
ROUND_TRIP_SECONDS = 0.001
CONSUMER_SECONDS = 0.050
WARM_SECONDS, RUN_SECONDS = 5, 60


@dataclass
class Station:
    """`seconds`: how long one of its processes has a transaction, network included; `database`: CPU seconds there."""

    name: str
    processes: int
    seconds: float
    database: float = 0.0
    queue: deque = field(default_factory=deque)
    waiting: int = 0
    served: float = 0.0
    credit: float = 0.0
    peak: int = 0

    @property
    def most(self) -> float:
        """Transactions a second, if the database had no end."""
        return self.processes / self.seconds

    def put(self, born: float, count: int) -> None:
        self.queue.append((born, count))
        self.waiting += count
        self.peak = max(self.peak, self.waiting)

    def serve(self, database: float, stopped: bool) -> tuple[list[tuple[float, int]], float]:
        """What leaves in this tick, and what is left of the database's time in it."""
        # What was not used is lost, but for a part of one transaction.
        self.credit = 0.0 if stopped else min(self.credit, 1.0) + self.most * TICK_SECONDS
        done: list[tuple[float, int]] = []
        while self.queue and self.credit >= 1 and (not self.database or database >= self.database):
            born, count = self.queue.popleft()
            fits = count if not self.database else int(database / self.database)
            now = min(count, int(self.credit), fits)
            self.credit -= now
            self.waiting -= now
            self.served += now
            database -= now * self.database
            done.append((born, now))
            if now < count:
                self.queue.appendleft((born, count - now))
        return done, database


@dataclass(frozen=True)
class Fleet:
    """How many of each. `queues`: consistent-hash queues, each one core of the broker."""

    web: int
    relays: int
    workers: int
    queues: int
    database_cores: int


# About what the costs ask for, at two thirds of it full.
FLEETS = {
    100: Fleet(2, 1, 1, 1, 2),
    1_000: Fleet(4, 1, 8, 1, 3),
    10_000: Fleet(34, 2, 64, 1, 24),
    100_000: Fleet(340, 16, 640, 10, 240),
}


def stations(fleet: Fleet) -> list[Station]:
    trip = ROUND_TRIP_SECONDS
    # A web process is one core of Python, half of it for creates and half for results. A relay's batch makes four round trips,
    # a worker three for a result.
    return [
        Station("web, creates", fleet.web, 0.00104 * 2, 0.00065),
        Station("relays", fleet.relays, (0.041 + 4 * trip) / 500, 0.0135 / 500),
        Station("broker", fleet.queues, 0.032 / 500),
        Station("web, results", fleet.web, 0.00106 * 2, 0.00041),
        Station("workers", fleet.workers, 0.0011 + 3.16 * trip, 0.0005),
    ]


def simulate(rate: float, fleet: Fleet, outage_seconds: float, seed: int = 1) -> None:
    """One minute, with the broker away for so long in its middle; then until nothing waits, a quarter of an hour at most."""
    rng, line = random.Random(seed), stations(fleet)
    at_consumer: deque[tuple[float, float, int]] = deque()
    ends: list[tuple[float, int]] = []
    broken, back = WARM_SECONDS + 10.0, WARM_SECONDS + 10.0 + outage_seconds
    used, tick, drained = 0.0, 0, 0.0
    while True:
        now = tick * TICK_SECONDS
        arriving = now < WARM_SECONDS + RUN_SECONDS + outage_seconds
        if arriving and (came := poisson(rng, rate * TICK_SECONDS)):
            line[0].put(now, came)
        database = fleet.database_cores * TICK_SECONDS
        # The last first: what is nearest to its end does not starve behind new arrivals.
        for place in reversed(range(len(line))):
            left, database = line[place].serve(database, stopped=line[place].name == "broker" and broken <= now < back)
            for born, count in left:
                if line[place].name == "broker":
                    at_consumer.append((now + CONSUMER_SECONDS, born, count))
                elif place + 1 < len(line):
                    line[place + 1].put(born, count)
                elif now >= WARM_SECONDS and (not outage_seconds or born < broken - 1):
                    ends.append((now - born, count))
        while at_consumer and at_consumer[0][0] <= now:
            _, born, count = at_consumer.popleft()
            line[3].put(born, count)
        used += fleet.database_cores * TICK_SECONDS - database
        backlog = sum(station.waiting for station in line)
        if now > back and not drained and backlog < rate * 0.2:
            drained = now - back
        if not arriving and (not backlog or now > 900):
            break
        tick += 1
    report(rate, fleet, line, ends, used / (tick * TICK_SECONDS), drained if outage_seconds else None, backlog)


def poisson(rng: random.Random, mean: float) -> int:
    """Knuth's way for small means; a normal approximation from 30 on."""
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count, product = count + 1, product * rng.random()
    return count


def report(
    rate: float,
    fleet: Fleet,
    line: list[Station],
    ends: list[tuple[float, int]],
    cores: float,
    drained: float | None,
    backlog: int,
) -> None:
    print(f"\n{rate:g}/s: {fleet}")
    for station in line:
        print(f"  {station.name:14} {rate / station.most:6.0%} of its own, at most {station.peak:,} waiting")
    print(f"  database       {cores / fleet.database_cores:6.0%} of {fleet.database_cores} cores")
    total, passed, marks = sum(count for _, count in ends), 0, {}
    for seconds, count in sorted(ends):
        passed += count
        for share in (0.5, 0.99):
            if passed >= share * total:
                marks.setdefault(share, seconds)
    if marks:
        print(f"  submitted to applied: p50 {marks[0.5] * 1000:.0f} ms, p99 {marks[0.99] * 1000:.0f} ms")
    if drained is not None:
        print(f"  drained {drained:.1f} s after the broker is back" if drained else "  never drained")
    if backlog:
        print(f"  {backlog:,} still wait: this fleet is too small")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, nargs="+", default=list(FLEETS), help="transactions a second")
    parser.add_argument("--outage", type=float, default=30, help="seconds without a broker")
    options = parser.parse_args()
    for rate in options.rate:
        fleet = FLEETS[min(FLEETS, key=lambda known: abs(known - rate))]
        for outage in dict.fromkeys((0.0, options.outage)):
            simulate(rate, fleet, outage)


if __name__ == "__main__":
    main()
