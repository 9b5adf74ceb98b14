"""What is looked at before the demo changes or starts anything, each refusal with what to do about it."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from producer.addresses import addresses, first_that_answers
from producer.demo.environment import LOCK_FILE, LOGS, VAR
from producer.demo.parts import CONSUMER_FOLDER

# After a kill -9 the reaper of the earlier demo needs a moment to stop what was left.
LOCK_WAIT_SECONDS = 15.0
ANSWER_SECONDS = 3.0


class PreflightError(Exception):
    """Something is missing; the text says what to do."""


def make_folders() -> None:
    for folder in (VAR, LOGS, VAR / "broker", VAR / "static"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PreflightError(f"cannot make {folder}: {error.strerror}. Is this clone writable for you?") from error


def lock(still_wanted: Callable[[], None]) -> int:
    """One demo per clone: two would share ports, logs and the embedded broker. Returns the open descriptor."""
    descriptor = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise PreflightError(
                    "another demo runs in this clone (var/demo.lock). Stop it with Ctrl-C, or use a clone of its own."
                ) from error
            still_wanted()
            time.sleep(0.2)
        else:
            return descriptor


def check_services(environment: Mapping[str, str]) -> None:
    """A wrong URL is told in a sentence here instead of a traceback later."""
    for name in ("DATABASE_URL", "BROKER_URL"):
        servers = addresses(environment.get(name, ""))
        if servers and first_that_answers(environment[name], ANSWER_SECONDS) is None:
            where = " or ".join(f"{server.host}:{server.port}" for server in servers)
            raise PreflightError(
                f"nothing answers at {where} ({name}). Start it, or unset {name} to use the embedded default."
            )


def check_consumer() -> None:
    if not (CONSUMER_FOLDER / "manage.py").is_file():
        raise PreflightError(f"{CONSUMER_FOLDER} is not there. Use a full clone, or CONSUMER=off.")


def read_bodies(path: Path) -> list[bytes]:
    """One request body a line, sent as it stands: the API is to judge it, not we. Only its being JSON is looked at."""
    try:
        lines = [line.strip() for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise PreflightError(f"cannot read FILE={path}: {error.strerror}.") from error
    for number, line in enumerate(lines, start=1):
        if line:
            _refuse_what_is_not_json(path, number, line)
    bodies = [line for line in lines if line]
    if not bodies:
        raise PreflightError(f"FILE={path} holds no line. It needs one request body a line.")
    return bodies


def _refuse_what_is_not_json(path: Path, number: int, line: bytes) -> None:
    try:
        json.loads(line)
    except ValueError as error:
        raise PreflightError(f"{path}, line {number} is not JSON: {error}.") from error
