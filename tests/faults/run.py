"""Runs rows of the matrix, each as a process of its own: python -m tests.faults.run [--only F02,F13] [--seed 1]."""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults import rows_broker, rows_database, rows_network, rows_processes, rows_rest
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
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        raise SystemExit(0 if one(options.one, options.seed, options.mode)["ok"] else 1)
    wanted = [name for name in options.only.replace(" ", "").split(",") if name]
    # Those whose number ends in a letter are the quick forms that the test run uses.
    names = wanted or sorted(name for name in ROWS if not name[-1].isalpha())
    unknown = set(names) - ROWS.keys()
    if unknown:
        raise SystemExit(f"No such row: {', '.join(sorted(unknown))}. There are: {', '.join(ROWS)}")
    OUT.mkdir(parents=True, exist_ok=True)
    # WRAP: a command that is put before each row, for a machine that is shared.
    wrap = shlex.split(os.environ.get("WRAP", ""))
    red = []
    for name in names:
        if ROWS[name].why_not:
            print(json.dumps({"fault": name, "skipped": ROWS[name].why_not}), flush=True)
            continue
        command = [*wrap, sys.executable, "-m", "tests.faults.run", "--one", name]
        command += ["--seed", str(options.seed), "--mode", options.mode]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            red.append(name)
    print(f"{len(names) - len(red)} of {len(names)} rows are green." + (f" Red: {', '.join(red)}" if red else ""))
    raise SystemExit(1 if red else 0)


def one(name: str, seed: int, mode: str) -> dict:
    """Runs one row in a world of its own; prints its line and keeps it in var/faults."""
    OUT.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))
    world = None
    try:
        world = World(folder, disk_mb=ROWS[name].options.pop("disk_mb", 0))
        line = run_row(world, ROWS[name], seed, mode)
    except Exception as error:
        traceback.print_exc()
        line = {"fault": name, "seed": seed, "ok": False, "failures": [f"{type(error).__name__}: {error}"[:500]]}
    finally:
        if world:
            world.close()
    line["at"] = time.strftime("%Y-%m-%dT%H:%M:%S")
    print(json.dumps(line), flush=True)
    with (OUT / f"seed-{seed}.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\n")
    kept = OUT / f"{name}-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    if not line["ok"]:
        # What the processes logged and the clients were told, for whoever looks for the cause.
        shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("mnesia", "*.sqlite3*"), dirs_exist_ok=True)
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
    return line


if __name__ == "__main__":
    main()
