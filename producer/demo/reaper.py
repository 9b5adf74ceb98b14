"""Stops the demo's children when the demo itself was killed (kill -9, out of memory). Standard library only.

Runs as a process of its own. It reads one process-group id a line from its standard input; the other end belongs to
the demo. `done` means that the demo stopped everything itself. End of file without it means that the demo is dead.
"""

import os
import signal
import sys
import time
from collections.abc import Callable

GRACE_SECONDS = 8.0  # longer than a warm shutdown of a worker; after it the whole group is killed
POLL_SECONDS = 0.1


def main() -> None:
    # Ctrl-C and a closing terminal are the demo's business; this one must outlive it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: list[int] = []
    for line in sys.stdin:
        word = line.strip()
        if word == "done":
            return
        if word.startswith("-"):
            groups = [group for group in groups if group != int(word[1:])]
        elif word:
            groups.append(int(word))
    reap(groups)


def reap(groups: list[int], grace_seconds: float = GRACE_SECONDS) -> None:
    for group in groups:
        # The leader only: gunicorn and Celery stop their own children, and in order.
        _send(os.kill, group, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while groups and time.monotonic() < deadline:
        groups = [group for group in groups if _send(os.killpg, group, 0)]
        time.sleep(POLL_SECONDS)
    for group in groups:
        _send(os.killpg, group, signal.SIGKILL)


def _send(send: Callable[[int, int], None], target: int, number: int) -> bool:
    try:
        send(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
