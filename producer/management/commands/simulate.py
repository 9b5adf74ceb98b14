"""`manage.py simulate`: makes bank transactions and submits them through the API at a given rate."""

import itertools
import json
import math
import os
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from producer.demo.bank_data import bank_transactions
from producer.demo.crowd import Crowd
from producer.demo.interruption import Interruption
from producer.demo.numbers import percentile
from producer.demo.output import Bar, say
from producer.demo.submit import Answer, Api

MAX_THREADS = 64  # more than the API has server threads only wait for each other
# Shorter than the demo's: under load one wants to see that a server is away, and not to wait for it.
RETRY_SECONDS = 10.0
SHOWN_PROBLEMS = 5


class Command(BaseCommand):
    help = "Makes and submits bank transactions through the API of PRODUCER_URL, with the key PRODUCER_API_KEY."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--rate", type=float, default=10.0, help="transactions a second (default 10)")
        parser.add_argument("--seconds", type=float, default=10.0, help="for how long (default 10)")
        parser.add_argument("--url", default=os.environ.get("PRODUCER_URL", ""), help="default: PRODUCER_URL")
        parser.add_argument("--key", default=os.environ.get("PRODUCER_API_KEY", ""), help="default: PRODUCER_API_KEY")
        parser.add_argument("--threads", type=int, default=16, help=f"at most so many at once, up to {MAX_THREADS}")
        parser.add_argument("--seed", type=int, default=None, help="of the made-up data (default: a new one each time)")

    def handle(self, *args: Any, **options: Any) -> None:
        rate, seconds, threads = options["rate"], options["seconds"], options["threads"]
        if not (0 < rate < math.inf and 0 < seconds < math.inf and 1 <= threads <= MAX_THREADS):
            raise CommandError(f"--rate and --seconds must be numbers above 0, --threads from 1 to {MAX_THREADS}.")
        if not options["url"] or not options["key"]:
            raise CommandError(
                "No address or key. Set PRODUCER_URL and PRODUCER_API_KEY (`make demo` prints both; "
                "`manage.py create_api_client NAME` makes a key), or use --url and --key."
            )
        # Nanoseconds: two simulations that start in the same second must not share their external ids.
        seed = time.time_ns() if options["seed"] is None else options["seed"]
        interruption = Interruption()
        interruption.install()
        api = Api(options["url"], options["key"], cancelled=lambda: interruption.requested, retry_seconds=RETRY_SECONDS)
        problem = api.why_not_usable()
        if problem:
            raise CommandError(f"{problem}. Check PRODUCER_URL and PRODUCER_API_KEY.")
        total = max(1, round(rate * seconds))
        bodies = (json.dumps(body, ensure_ascii=False).encode() for body in bank_transactions(seed))
        started = time.monotonic()
        answers: list[Answer] = []
        crowd = Crowd(api, itertools.islice(bodies, total), f"simulate-{time.time_ns()}", threads, rate)
        with Bar("submitted", total) as bar, crowd:
            for answer in crowd:
                if interruption.requested:
                    break
                if answer is not None:
                    answers.append(answer)
                    bar.show(len(answers))
        _sum_up(answers, total, time.monotonic() - started, seed)


def _sum_up(answers: list[Answer], total: int, wall_seconds: float, seed: int) -> None:
    accepted = [answer for answer in answers if answer.accepted]
    unanswered = [answer for answer in answers if answer.status == 0]
    refused = [answer for answer in answers if not answer.accepted and answer.status != 0]
    milliseconds = [answer.seconds * 1000 for answer in accepted]
    say(f"accepted {len(accepted)}, refused {len(refused)}, unanswered {len(unanswered)} of {total} (seed {seed})")
    say(
        f"latency p50 {percentile(milliseconds, 0.50):.1f} ms, p99 {percentile(milliseconds, 0.99):.1f} ms; "
        f"{len(accepted) / wall_seconds:.1f} accepted a second over {wall_seconds:.1f} s"
    )
    for answer in (refused + unanswered)[:SHOWN_PROBLEMS]:
        say(f"  number {answer.number}: {answer.problem}")
    if len(accepted) < total:
        raise CommandError(f"{total - len(accepted)} of {total} transactions were not accepted.")
