"""Several processes that begin at one word, and what they did by the time that the last one ended."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from private import ROOT


@dataclass(frozen=True)
class Worked:
    """`cores_busy`: of the machine's, with whatever else ran there."""

    done: int
    seconds: float
    cores_busy: float

    @property
    def rate(self) -> float:
        return self.done / self.seconds


def at_a_word(
    command: list[str], environments: Sequence[dict[str, str]], before: Callable[[], object] = lambda: None
) -> Worked:
    """One process for each environment (what it has beyond ours). Each says `ready` once it is warm, gets a line, and says how
    much it did; their start is not counted. `before` is called when all are ready.

    Raises RuntimeError when one ends without having been ready.
    """
    running = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        for environment in environments
    ]
    for process in running:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{' '.join(command)} ended before it was ready: {process.wait(10)}")
    before()
    started, busy = time.perf_counter(), busy_seconds()
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    done = [int(process.stdout.readline()) for process in running]
    seconds = time.perf_counter() - started
    cores_busy = (busy_seconds() - busy) / seconds
    for process in running:
        process.communicate()
    return Worked(sum(done), seconds, cores_busy)


def busy_seconds() -> float:
    """CPU that all cores have spent on work since the machine started."""
    user, nice, system, _idle, _waiting, interrupts, softly = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + interrupts + softly) / os.sysconf("SC_CLK_TCK")
