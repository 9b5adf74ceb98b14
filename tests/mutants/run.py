"""Runs some tests in a folder, within a time, and tells which were red."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

# pytest's exit code for arguments that it does not understand, or a conftest that it cannot load.
_USAGE = 4


class CannotAskError(Exception):
    """No test was run."""


@dataclass(frozen=True, slots=True)
class Report:
    """`failed`: the red tests that were seen before the run stopped. `passed`: how many were not red."""

    failed: tuple[str, ...]
    passed: int
    seconds: float
    output: str
    trouble: str = ""

    @property
    def green(self) -> bool:
        """Nothing noticed anything."""
        return not self.failed and not self.trouble

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.failed + other.failed,
            self.passed + other.passed,
            self.seconds + other.seconds,
            other.output,
            self.trouble or other.trouble,
        )


def run_tests(folder: Path, paths: Sequence[str], marks: str, *, seconds: float, stop_after: int) -> Report:
    """pytest on `paths`, those with `marks`, stopped after so many red tests (0: never) or when the time is up, with all it started.

    Raises CannotAskError.
    """
    there = [path for path in paths if (folder / path).exists()]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        result, log = Path(scratch) / "result.xml", Path(scratch) / "log"
        under = shlex.split(os.environ.get("RUN_UNDER", ""))
        command = [
            *under,
            sys.executable,
            "-m",
            "pytest",
            "-q",
            f"--junitxml={result}",
            f"--maxfail={stop_after}",
            *(["-m", marks] if marks else []),
            *there,
        ]
        # No bytecode: a bug of the same length, written in the same second, would not be noticed by Python itself.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "SCHEDULES": "2000"}
        with log.open("w") as output:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            trouble = ""
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                trouble = f"hung: stopped after {seconds:.0f} s"
            finally:
                _end(process)
        failed, passed = _read(result)
        if process.returncode == _USAGE:
            raise CannotAskError(f"pytest was asked wrongly, which catches nothing:\n{log.read_text(errors='replace')}")
        # 5: none of them has that mark.
        if not failed and not trouble and process.returncode not in {0, 1, 5}:
            trouble = f"pytest ended with {process.returncode}"
        if not failed and not trouble and process.returncode == 1:
            trouble = "pytest failed without naming a test"
        return Report(tuple(failed), passed, time.monotonic() - started, log.read_text(errors="replace"), trouble)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C first: fixtures then end the servers that they started in sessions of their own."""
    for number, patience in ((signal.SIGINT, 60), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def _read(result: Path) -> tuple[list[str], int]:
    if not result.exists():
        return [], 0
    failed, passed = [], 0
    for case in ElementTree.parse(result).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').replace('.', '/')}::{case.get('name', '')}")
        elif case.find("skipped") is None:
            passed += 1
    return failed, passed
