"""Test-side launcher: wraps a function by its dotted name so that the process kills itself there, then starts the process.

    python failpoint.py module:function[,function] before|after|instead SKIP MARKER -- script-or-module arguments...

The product holds no code for this. The marker file gets one line, synced to disk, before each kill: the proof that the
point was reached. `instead` does not kill: the call is left out, once per line.

With FAKETIME set (and libfaketime preloaded) the process sleeps by select(): libfaketime 0.9.10 cannot do clock_nanosleep
with a wall clock of its own beside the true monotonic one.

FAILPOINT_TIMES (default 1): a process that finds as many lines in the marker runs unharmed, so that a supervisor's
restart succeeds. FAILPOINT_MATCH: only calls whose arguments hold this text. FAILPOINT_CHANCE: the chance of each call.
"""

import functools
import importlib.abc
import importlib.util
import os
import random
import runpy
import select
import signal
import sys
import time
from pathlib import Path

TIMES = int(os.environ.get("FAILPOINT_TIMES", "1"))
MATCH = os.environ.get("FAILPOINT_MATCH", "")
CHANCE = float(os.environ.get("FAILPOINT_CHANCE", "1"))


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps the function as soon as its module has been executed by whoever imports it."""

    def __init__(self, module: str, function: str, when: str, skip: int, marker: Path) -> None:
        self.module, self.function, self.when, self.marker, self.left = module, function, when, marker, skip

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_and_wrap(module):
            run(module)
            for function in self.function.split(","):
                owner, _, attribute = function.rpartition(".")
                holder = getattr(module, owner) if owner else module
                setattr(holder, attribute, self.wrap(getattr(holder, attribute)))

        spec.loader.exec_module = exec_and_wrap
        return spec

    def wrap(self, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            reached = (not MATCH or MATCH in f"{args!r}{kwargs!r}") and random.random() <= CHANCE
            if self.when == "instead":
                return None if reached and self.spend() else function(*args, **kwargs)
            if reached and self.when == "before":
                self.die()
            result = function(*args, **kwargs)
            if reached and self.when == "after":
                self.die()
            return result

        return wrapped

    def spend(self) -> bool:
        """Notes one more use of the point; false when it is not the turn, or all uses are spent."""
        if spent(self.marker) >= TIMES:
            # A server's parent forks a new worker that still has the wrapper: enough is enough.
            return False
        if self.left > 0:
            self.left -= 1
            return False
        descriptor = os.open(self.marker, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, f"{os.getpid()} {self.module}:{self.function} {self.when}\n".encode())
        os.fsync(descriptor)
        return True

    def die(self) -> None:
        if self.spend():
            os.kill(os.getpid(), signal.SIGKILL)


def spent(marker: Path) -> int:
    return marker.read_bytes().count(b"\n") if marker.exists() else 0


def main() -> None:
    point, when, skip, marker, dashes, *command = sys.argv[1:]
    assert dashes == "--" and when in {"before", "after", "instead"}
    module, _, function = point.partition(":")
    sys.path.insert(0, os.getcwd())
    if "FAKETIME" in os.environ:
        time.sleep = lambda seconds: select.select([], [], [], seconds) and None
    if spent(Path(marker)) < TIMES:
        sys.meta_path.insert(0, _Finder(module, function, when, int(skip), Path(marker)))
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
