"""Turns Ctrl-C, TERM and a vanished `make` into one flag that the main loop looks at.

A flag and not an exception out of the signal handler: an exception could strike between starting a child and
remembering it, and that child would then run for ever.
"""

import os
import signal
import time
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A TERM for the whole group arrives twice, the second time by way of `make`. That is one wish and not two.
SAME_SIGNAL_SECONDS = 1.0


class StopRequestedError(Exception):
    """Somebody asked the demo to stop."""


class Interruption:
    def __init__(self, follow_parent: bool = False) -> None:
        self.number: int | None = None
        self.hurry = False  # a second Ctrl-C: don't wait for warm shutdowns
        self._first_at = 0.0
        self._parent = os.getppid() if follow_parent else None

    def install(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._first_at = number, now
        elif now - self._first_at > SAME_SIGNAL_SECONDS:
            self.hurry = True

    @property
    def requested(self) -> bool:
        if self.number is None and self._parent is not None and _left_alone_by(self._parent):
            self.number = signal.SIGTERM
        return self.number is not None

    def check(self) -> None:
        if self.requested:
            raise StopRequestedError

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended."""
        return 128 + (self.number or signal.SIGTERM)


def _left_alone_by(parent: int) -> bool:
    """Whether `make`, which started us, is gone or was interrupted.

    GNU make passes TERM on to us, but on INT it only waits, since a terminal sends Ctrl-C to the whole group. An INT
    for make alone (`kill -INT`) would leave both waiting for each other. Its handler has then put INT back to its
    default, and that shows in /proc.
    """
    if os.getppid() != parent:
        return True
    try:
        status = Path(f"/proc/{parent}/status").read_text(encoding="ascii")
    except OSError:
        return False  # no /proc here: only the parent's death is noticed
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    caught = int(fields.get("SigCgt", "0"), 16)
    ignored = int(fields.get("SigIgn", "0"), 16)
    interrupt = 1 << (signal.SIGINT - 1)
    return fields.get("Name", "").strip() == "make" and not (caught | ignored) & interrupt
