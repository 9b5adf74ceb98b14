"""Runs rows of the matrix in processes of their own: python -m tests.faults.run [--only F02,F13] [--seed 1]."""

import argparse
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults import rows_broker, rows_database, rows_network, rows_processes, rows_rest
from tests.faults.primitives import heal_everything
from tests.faults.row import ROWS, run_row
from tests.faults.world import World

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "var" / "faults"
MODULES = (rows_processes, rows_broker, rows_network, rows_database, rows_rest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows, separated by commas; default: the whole matrix")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=["both", "safety", "liveness"], default="both")
    parser.add_argument("--together", type=int, default=4, help="rows that share one world, one after the other")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    wanted = [name for name in options.only.replace(" ", "").split(",") if name]
    # Those whose number ends in a letter are the quick forms that the test run uses.
    names = wanted or sorted(name for name in ROWS if not name[-1].isalpha())
    unknown = set(names) - ROWS.keys()
    if unknown:
        raise SystemExit(f"No such row: {', '.join(sorted(unknown))}. There are: {', '.join(sorted(ROWS))}")
    OUT.mkdir(parents=True, exist_ok=True)
    # The tap's channel closes many times while the broker stops; each late frame would be a line.
    logging.getLogger("amqp").setLevel(logging.ERROR)
    end_in_order()
    if options.here:
        red = run_here(names, options.seed, options.mode)
    else:
        red = run_apart(names, options)
        print(f"{len(names) - len(red)} of {len(names)} rows are green." + (f" Red: {', '.join(red)}" if red else ""))
    raise SystemExit(min(len(red), 100))


def end_in_order() -> None:
    """Told to stop, a run still ends what it started."""

    def stop(*_: object) -> None:
        raise SystemExit("stopped")

    signal.signal(signal.SIGTERM, stop)
    # A shell's background job inherits it ignored.
    signal.signal(signal.SIGINT, stop)


def run_apart(names: list[str], options: argparse.Namespace) -> list[str]:
    """Some rows to a process: a machine that is shared gets a turn in between. Returns those that are red."""
    # WRAP: a command that is put before each process.
    wrap = shlex.split(os.environ.get("WRAP", ""))
    ordinary = [name for name in names if not ROWS[name].disk_mb]
    groups = [ordinary[at : at + options.together] for at in range(0, len(ordinary), options.together)]
    groups += [[name] for name in names if ROWS[name].disk_mb]
    red: list[str] = []
    for group in groups:
        command = [*wrap, sys.executable, "-m", "tests.faults.run", "--here", "--only", ",".join(group)]
        command += ["--seed", str(options.seed), "--mode", options.mode]
        before = _lines(options.seed)
        subprocess.run(command, cwd=ROOT, check=False)
        green = {line["fault"] for line in _lines(options.seed)[len(before) :] if line["ok"]}
        red += [name for name in group if name not in green]
    return red


def _lines(seed: int) -> list[dict]:
    path = OUT / f"seed-{seed}.jsonl"
    return [json.loads(line) for line in path.open()] if path.exists() else []


def run_here(names: list[str], seed: int, mode: str) -> list[str]:
    """The rows one after the other in one world, which is as new for each; returns those that are red."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    world, red = None, []
    try:
        world = World(folder, disk_mb=ROWS[names[0]].disk_mb)
        for name in names:
            try:
                line = run_row(world, ROWS[name], seed, mode)
            except Exception as error:
                traceback.print_exc()
                failure = f"{type(error).__name__}: {error}"[:500]
                line = {"fault": name, "seed": seed, "ok": False, "failures": [failure]}
            _keep(line, folder)
            if not line["ok"]:
                red.append(name)
            heal_everything(world)
            world.reset()
    finally:
        if world:
            world.close()
        shutil.rmtree(folder, ignore_errors=True)
    return red


def stamp() -> dict[str, str]:
    """When a line was made, and of which code: a table that is gathered over days says which rows are old."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {"at": time.strftime("%Y-%m-%dT%H:%M:%S"), "commit": described.stdout.strip()}


def _keep(line: dict, folder: Path) -> None:
    line |= stamp()
    print(json.dumps(line), flush=True)
    with (OUT / f"seed-{line['seed']}.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\n")
    kept = OUT / f"{line['fault']}-{line['seed']}"
    shutil.rmtree(kept, ignore_errors=True)
    if not line["ok"]:
        # What the processes logged and the clients were told, for whoever looks for the cause.
        shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("mnesia", "*.sqlite3*"))


if __name__ == "__main__":
    main()
