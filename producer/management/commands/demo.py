"""`manage.py demo`: the whole system on this machine, one process per part, with a run of transactions through it."""

import os
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from producer.demo.flow import Demo, Wishes
from producer.demo.interruption import Interruption, StopRequestedError
from producer.demo.output import say
from producer.demo.preflight import PreflightError
from producer.demo.processes import ProcessError

OFF = ("0", "off", "no", "false")
DEFAULT_COUNT = 100


class Command(BaseCommand):
    help = (
        "Starts Producer and reference Consumer, submits transactions through the API, waits for their results, sums "
        "up, and stays until Ctrl-C. Uses DATABASE_URL and BROKER_URL where set, else an embedded default."
    )
    # It starts with no database at all and migrates it itself.
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        environment = os.environ
        parser.add_argument(
            "--once",
            action="store_true",
            default=_is_on(environment.get("ONCE", "")),
            help="stop everything after the summary; exit 0 only if all have a result (ONCE=1)",
        )
        parser.add_argument(
            "--count",
            default=environment.get("COUNT") or str(DEFAULT_COUNT),
            help=f"how many transactions to make up (COUNT=n, default {DEFAULT_COUNT})",
        )
        parser.add_argument(
            "--file", default=environment.get("FILE") or None, help="one request body a line instead (FILE=x.jsonl)"
        )
        parser.add_argument(
            "--consumer",
            default=environment.get("CONSUMER") or "on",
            help="off: leave the reference Consumer out and don't wait for results (CONSUMER=off)",
        )
        parser.add_argument(
            "--seed", type=int, default=int(time.time()), help="of the made-up data; the same seed, the same data"
        )
        parser.add_argument(
            "--follow-parent", action="store_true", help="stop when the program that started this is gone (for make)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        interruption = Interruption(follow_parent=options["follow_parent"])
        interruption.install()
        wishes = Wishes(
            count=_count(options["count"]),
            seed=options["seed"],
            once=options["once"],
            consumer=options["consumer"].strip().lower() not in OFF,
            file=Path(options["file"]).expanduser().resolve() if options["file"] else None,
        )
        demo = Demo(wishes, interruption)
        try:
            code = demo()
        except StopRequestedError:
            code = 0 if demo.summed_up else interruption.exit_code
        except (PreflightError, ProcessError) as error:
            raise CommandError(str(error)) from error
        say("Stopped; nothing is left running.")
        sys.exit(code)


def _is_on(value: str) -> bool:
    return value.strip().lower() not in ("", *OFF)


def _count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise CommandError(f"COUNT must be a whole number from 1 up, not {value!r}.")
    return int(value)
