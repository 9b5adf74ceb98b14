"""Sustained traffic through the whole system with a fault every 30 s; memory, connections, tables and latency over time.

python -m tests.faults.soak --minutes 60 --rate 20 --seed 1
"""

import argparse
import contextlib
import json
import random
import shutil
import tempfile
import threading
import time
from pathlib import Path

import psycopg2

from tests.faults.checker import judge
from tests.faults.primitives import PRIMITIVES, heal_everything
from tests.faults.run import OUT, end_in_order
from tests.faults.sampling import sample
from tests.faults.soak_report import report
from tests.faults.world import World

EVERY_SECONDS = 30.0
SAMPLE_SECONDS = 5.0
# Taken in turn: the relay, both workers, the broker, its memory, the network, the database's connections.
FAULTS = (
    "kill relay",
    "kill worker",
    "kill RabbitMQ",
    "RabbitMQ's memory alarm",
    "cut the broker's connections",
    "kill PostgreSQL's backends",
    "kill consumer-worker",
    "restart PostgreSQL",
)
PREFORK = ("-P", "prefork", "-c", "2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=20, help="transactions a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    end_in_order()
    out = OUT.parent / "soak"
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    world = World(folder)
    try:
        summary = soak(world, options, out)
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(summary, indent=1))
    raise SystemExit(0 if summary["ok"] else 1)


def soak(world: World, options: argparse.Namespace, out: Path) -> dict:
    # The shortest overdue deadline would send again what only waits for a fault to end.
    proxied = ("broker",)
    world.begin(options.seed, proxied=proxied, rate=options.rate, pool=PREFORK, RESULT_DEADLINE_SECONDS="60")
    samples_path = out / "samples.jsonl"
    samples_path.unlink(missing_ok=True)
    stopping = threading.Event()
    sampler = threading.Thread(target=_sample_until, args=(world, samples_path, stopping), daemon=True)
    sampler.start()
    windows: list[dict] = []
    rng, started = random.Random(options.seed), time.time()
    by_name = {each.name: each for each in PRIMITIVES}
    until, number = time.monotonic() + options.minutes * 60, 0
    next_at = time.monotonic() + EVERY_SECONDS
    while next_at < until:
        time.sleep(max(0.0, next_at - time.monotonic()))
        name = FAULTS[number % len(FAULTS)]
        window: dict = {"fault": name, "from": time.time()}
        try:
            by_name[name].make(world, rng, 4.0)
        except Exception as error:
            window["not_made"] = f"{type(error).__name__}: {error}"[:200]
        heal_everything(world)
        window["healed"] = time.time()
        windows.append(window)
        print(f"soak {time.strftime('%H:%M:%S')} {name}: {window['healed'] - window['from']:.1f} s", flush=True)
        number += 1
        next_at += EVERY_SECONDS
    time.sleep(max(0.0, until - time.monotonic()))
    ended = time.time()
    _, drained = world.drain()
    world.settle()
    stopping.set()
    sampler.join(30)
    verdict = judge(world.evidence())
    lifetimes = world.stack.sql(
        "SELECT extract(epoch FROM created_at)::float, extract(epoch FROM processed_at - created_at)::float "
        "FROM transactions_transaction WHERE processed_at IS NOT NULL"
    )
    (out / "windows.json").write_text(json.dumps(windows))
    shutil.copy(world.load.log_path, out / "clients.jsonl")
    summary = report(
        samples=[json.loads(line) for line in samples_path.open()],
        windows=windows,
        answers=[(entry["at"], entry["ms"], entry.get("status", 0)) for entry in world.answers()],
        lifetimes=lifetimes,
        span=(started, ended),
    )
    summary |= {
        "seed": options.seed,
        "minutes": options.minutes,
        "rate_asked": options.rate,
        "faults": number,
        "drain_after_the_last_fault_s": drained,
        **verdict.line(),
        "ok": not verdict.bad() and not world.unanswered,
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1))
    return summary


def _sample_until(world: World, path: Path, stopping: threading.Event) -> None:
    with path.open("a", buffering=1) as out:
        while not stopping.wait(SAMPLE_SECONDS):
            # The database may just be the fault; then there is no sample.
            with contextlib.suppress(psycopg2.Error, AssertionError):
                out.write(json.dumps(sample(world)) + "\n")


if __name__ == "__main__":
    main()
