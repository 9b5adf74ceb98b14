"""Test-side launcher: wraps a function by its dotted name so that the process kills itself there, then starts the process.

    python failpoint.py module:function before|after SKIP MARKER -- script-or-module arguments...

The product holds no code for this. The marker file gets one line, synced to disk, before the kill: the proof that the
point was reached. A process started while the marker exists runs unharmed, so that a supervisor's restart succeeds.
"""

import functools
import importlib.abc
import importlib.util
import os
import runpy
import signal
import sys
from pathlib import Path


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
            owner, _, attribute = self.function.rpartition(".")
            holder = getattr(module, owner) if owner else module
            setattr(holder, attribute, self.wrap(getattr(holder, attribute)))

        spec.loader.exec_module = exec_and_wrap
        return spec

    def wrap(self, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            if self.when == "before":
                self.die()
            result = function(*args, **kwargs)
            if self.when == "after":
                self.die()
            return result

        return wrapped

    def die(self) -> None:
        if self.marker.exists():
            # A server's parent forks a new worker that still has the wrapper: one death is enough.
            return
        if self.left > 0:
            self.left -= 1
            return
        descriptor = os.open(self.marker, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, f"{os.getpid()} {self.module}:{self.function} {self.when}\n".encode())
        os.fsync(descriptor)
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    point, when, skip, marker, dashes, *command = sys.argv[1:]
    assert dashes == "--" and when in {"before", "after"}
    module, _, function = point.partition(":")
    sys.path.insert(0, os.getcwd())
    if not Path(marker).exists():
        sys.meta_path.insert(0, _Finder(module, function, when, int(skip), Path(marker)))
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
