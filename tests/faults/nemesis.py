"""F41: two or three faults at once, at random by a seed, for minutes; then none, and everything must drain.

python -m tests.faults.nemesis --minutes 10 --seed 1
"""

import argparse
import json
import random
import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.faults.primitives import PRIMITIVES, Primitive, heal_everything
from tests.faults.row import Row, Run, run_row
from tests.faults.run import OUT, end_in_order, stamp
from tests.faults.world import DRAIN_SECONDS, World


def storm(minutes: float):
    """The row's inject: rounds of faults. The sequence of rounds depends on the seed alone."""

    def inject(run: Run) -> None:
        until = time.monotonic() + minutes * 60
        made: Counter[str] = Counter()
        rounds = 0
        while time.monotonic() < until:
            rounds += 1
            chosen = choose(run.random)
            made.update(each.name for each in chosen)
            print(f"nemesis {time.strftime('%H:%M:%S')} {' + '.join(each.name for each in chosen)}", flush=True)
            threads = [
                threading.Thread(target=_make, args=(run, each, random.Random(run.random.random())), daemon=True)
                for each in chosen
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
                run.check(not thread.is_alive(), "a fault did not end")
            if rounds % 4 == 0:
                _top_up(run)
            time.sleep(run.random.uniform(0.5, 3))
        heal_everything(run.world)
        run.note(rounds=rounds, faults=dict(made))

    return inject


def choose(rng: random.Random) -> list[Primitive]:
    """Two or three faults that do not need the same thing."""
    wanted, chosen = rng.choice([2, 2, 3]), list[Primitive]()
    while len(chosen) < wanted:
        each = rng.choice(PRIMITIVES)
        if each.touches not in {other.touches for other in chosen}:
            chosen.append(each)
    return chosen


def _make(run: Run, each: Primitive, rng: random.Random) -> None:
    try:
        each.make(run.world, rng, rng.uniform(2, 9))
    except Exception as error:
        # E.g. the database is down while its backends should be killed: then that is the fault. Said, not hidden.
        print(f"nemesis: {each.name} not made: {type(error).__name__}: {str(error)[:200]}", flush=True)
        run.notes.setdefault("not_made", Counter())[each.name] += 1


def _top_up(run: Run) -> None:
    heal_everything(run.world)
    run.world.burst(200)


def stalled_seconds() -> float | None:
    """So long something on this machine has waited for a core since it started; None where the system does not say.

    Clients submit at their rate whatever happens: on a machine that others use as well, the Consumer may get less than that.
    """
    try:
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
    except OSError:
        return None
    return int(some.rpartition("total=")[2]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    end_in_order()
    OUT.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="nemesis-"))
    # The tap's queue is bound to the exchange too. What is sent while the Consumer's binding is deleted is confirmed for the
    # tap's sake and comes to nobody else, until the deadline for its result has it sent again.
    settings = {"proxied": ("broker", "database"), "RESULT_DEADLINE_SECONDS": "30"}
    row = Row("F41", "Random nemesis", storm(options.minutes), DRAIN_SECONDS, settings)
    world, stalled, started = None, stalled_seconds(), time.monotonic()
    try:
        world = World(folder)
        line = run_row(world, row, options.seed)
        line["minutes"], line["rate"] = options.minutes, world.load.rate
        if stalled is not None:
            line["cpu_stalled"] = round((stalled_seconds() - stalled) / (time.monotonic() - started), 2)
    except Exception as error:
        traceback.print_exc()
        line = {
            "fault": "F41",
            "seed": options.seed,
            "ok": False,
            "failures": [f"{type(error).__name__}: {error}"[:500]],
        }
    finally:
        if world:
            world.close()
    line |= stamp()
    print(json.dumps(line), flush=True)
    with (OUT / "nemesis.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\n")
    if not line["ok"]:
        kept = OUT / f"F41-{options.seed}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("mnesia", "*.sqlite3*"))
    shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(0 if line["ok"] else 1)


if __name__ == "__main__":
    main()
