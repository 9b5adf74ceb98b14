"""A small supervisor: starts child processes, notices when one dies, stops all of them and leaves nothing behind."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

REAPER = Path(__file__).with_name("reaper.py")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
GRACE_SECONDS = 10.0  # for a warm shutdown; after it the process group is killed. Less would cut tasks in two.
POLL_SECONDS = 0.05
TAIL_LINES = 25

_libc = ctypes.CDLL(None)


class ProcessError(Exception):
    """A child died, or a step failed; the text carries the tail of its log."""


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    wave: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def obituary(self) -> str:
        code = self.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with {code}"
        return f"{self.name} (pid {self.pid}) {how}. The end of {self.log}:\n{tail(self.log)}"


class Supervisor:
    """Owns the children. Use it as a context manager: leaving the block stops whatever still runs."""

    def __init__(
        self, log_folder: Path, keep_open: Iterable[int] = (), hurry: Callable[[], bool] = lambda: False
    ) -> None:
        """`hurry` says whether to kill at once instead of waiting for a warm shutdown (a second Ctrl-C)."""
        self.log_folder = log_folder
        self.children: list[Child] = []
        self._hurry = hurry
        log_folder.mkdir(parents=True, exist_ok=True)
        # `keep_open` goes to the reaper alone: it holds the demo's lock until the last orphan is gone.
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", str(REAPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=tuple(keep_open),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path | None = None,
        pass_fds: Iterable[int] = (),
        wave: int = 1,
    ) -> Child:
        """Start a child in a session of its own: a Ctrl-C in the terminal reaches the supervisor only."""
        log = self.log_folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(command),
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
                preexec_fn=_die_with_parent,
            )
        child = Child(name, process, log, wave)
        self.children.append(child)
        self._tell_reaper(str(child.pid))
        return child

    def finish(self, child: Child, timeout_seconds: float, still_wanted: Callable[[], None]) -> None:
        """Wait for a one-shot child; `still_wanted` raises when the wait should be given up."""
        deadline = time.monotonic() + timeout_seconds
        while child.process.poll() is None:
            still_wanted()
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{child.name} took longer than {timeout_seconds:.0f} s. The end of {child.log}:\n{tail(child.log)}"
                )
            time.sleep(POLL_SECONDS)
        self.children.remove(child)
        self._tell_reaper(f"-{child.pid}")
        if child.process.returncode != 0:
            raise ProcessError(child.obituary())

    def check(self) -> None:
        """Raise if a child is no longer there."""
        for child in self.children:
            if child.process.poll() is not None:
                raise ProcessError(child.obituary())

    def stop(self) -> None:
        """Wave by wave, lowest first: TERM, a bounded wait, then KILL for the whole group. Safe to call twice."""
        for wave in sorted({child.wave for child in self.children}):
            self._stop_wave([child for child in self.children if child.wave == wave])
        self.children.clear()
        self._tell_reaper("done")
        if self._reaper.stdin is not None and not self._reaper.stdin.closed:
            self._reaper.stdin.close()
        self._reaper.wait()

    def _stop_wave(self, children: list[Child]) -> None:
        for child in children:
            if child.process.poll() is None:
                # The leader only: gunicorn and Celery stop their own children, and in order.
                child.process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        while any(child.process.poll() is None for child in children):
            if self._hurry() or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        for child in children:
            # Also when the leader went by itself: a process that it left behind is still in its group.
            _kill_group(child.pid)
            child.process.wait()

    def _tell_reaper(self, word: str) -> None:
        pipe: IO[bytes] | None = self._reaper.stdin
        if pipe is None or pipe.closed:
            return
        try:
            pipe.write(f"{word}\n".encode())
            pipe.flush()
        except BrokenPipeError:
            pipe.close()  # someone killed the reaper; the children still have their parent-death signal


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (it wrote nothing)"


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left in it
        os.killpg(group, signal.SIGKILL)


def _die_with_parent() -> None:
    """Linux: the kernel sends TERM when the supervisor dies, however it dies. Elsewhere the reaper alone does it."""
    prctl = getattr(_libc, "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
