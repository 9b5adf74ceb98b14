"""What a person sees: steps, a progress bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_EVERY_SECONDS = 2.0


def say(text: str = "") -> None:
    """A line at once, unwrapped and unstyled: scripts read some of them."""
    print(text, flush=True)


class Bar:
    """Progress of one piece of work with a known size (or an unknown one: None)."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._said: int | None = None
        self._said_at = time.monotonic()
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=Console(file=sys.stdout))
            self._progress.start()
            self._task = self._progress.add_task(self._label, total=self._total)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()
        elif self._done != self._said:
            self._plain()

    def show(self, done: int) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=done)
        self._done = done
        if self._progress is None and done != self._said and time.monotonic() - self._said_at >= PLAIN_EVERY_SECONDS:
            self._plain()

    def _plain(self) -> None:
        self._said_at, self._said = time.monotonic(), self._done
        say(f"{self._label}: {self._done}" + (f" of {self._total}" if self._total is not None else ""))
