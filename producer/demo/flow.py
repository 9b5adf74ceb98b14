"""The demo from start to end: bring everything up, submit, wait for the results, sum up, stay until Ctrl-C."""

import contextlib
import itertools
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import requests

from producer.demo import environment, preflight, report
from producer.demo.bank_data import bank_transactions
from producer.demo.crowd import Crowd
from producer.demo.environment import KEYS_FILE, LOGS
from producer.demo.interruption import Interruption
from producer.demo.keys import load_or_make
from producer.demo.output import Bar, say
from producer.demo.processes import Supervisor
from producer.demo.results import Results
from producer.demo.stage import Stage
from producer.demo.submit import Answer, Api

# No result for so long means that none will come. Longer than a relay's lease and a worker's backoff.
STALL_SECONDS = 120
POLL_SECONDS = 0.3


@dataclass(frozen=True)
class Wishes:
    count: int
    seed: int
    once: bool = False
    consumer: bool = True
    file: Path | None = None


class Demo:
    def __init__(self, wishes: Wishes, interruption: Interruption) -> None:
        self.wishes = wishes
        self.interruption = interruption
        self.run = int(time.time())
        self.summed_up = False

    def __call__(self) -> int:
        """Returns the exit code for a run that was not interrupted."""
        preflight.make_folders()
        if self.wishes.consumer:
            preflight.check_consumer()
        preflight.check_services(environment.current())
        bodies = preflight.read_bodies(self.wishes.file) if self.wishes.file else self._made_bodies()
        lock = preflight.lock(self.interruption.check)
        try:
            with Supervisor(LOGS, keep_open=(lock,), hurry=lambda: self.interruption.hurry) as supervisor:
                return self._with_processes(supervisor, bodies)
        finally:
            os.close(lock)

    def _made_bodies(self) -> list[bytes]:
        made = itertools.islice(bank_transactions(self.wishes.seed), self.wishes.count)
        return [json.dumps(body, ensure_ascii=False).encode() for body in made]

    def _with_processes(self, supervisor: Supervisor, bodies: list[bytes]) -> int:
        keys = load_or_make(KEYS_FILE)
        stage = Stage(supervisor, self.interruption, keys, self.wishes.consumer, self.run)
        try:
            stage.set_up()
            good = self._submit_and_wait(stage, bodies)
            report.print_places(stage.places, keys.admin_password)
            self.summed_up = True
            if not self.wishes.once:
                self._stay(stage)
            if not good:
                say(f"Not every transaction reached succeeded or failed: exit 1. Logs: {LOGS}")
            return 0 if good else 1
        finally:
            stage.close()
            say("Stopping every process …")

    def _submit_and_wait(self, stage: Stage, bodies: list[bytes]) -> bool:
        """Whether every transaction reached succeeded or failed."""
        started = time.monotonic()
        api = Api(stage.places.producer_url, stage.places.api_key, cancelled=lambda: self.interruption.requested)
        answers = self._submit(stage, api, bodies)
        results = Results(api, [answer.transaction["id"] for answer in answers if answer.transaction])
        if self.wishes.consumer:
            self._follow(stage, results)
        else:
            say("CONSUMER=off: no reference Consumer runs, so this does not wait for results.")
            _poll(results)
        report.print_counts(answers, results, time.monotonic() - started)
        return results.decided() == len(bodies)

    def _submit(self, stage: Stage, api: Api, bodies: list[bytes]) -> list[Answer]:
        answers: list[Answer] = []
        with Bar("submitted", len(bodies)) as bar, Crowd(api, bodies, f"demo-{self.run}") as crowd:
            for answer in crowd:
                stage.look_around(pause=0)
                if answer is not None:
                    answers.append(answer)
                    bar.show(len(answers))
        return answers

    def _follow(self, stage: Stage, results: Results) -> None:
        with Bar("with a result", results.total) as bar:
            while results.done < results.total:
                _poll(results)
                bar.show(results.done)
                if time.monotonic() - results.last_progress > STALL_SECONDS:
                    say(f"No new result for {STALL_SECONDS} s; giving up on the rest. Logs: {LOGS}")
                    return
                stage.look_around(POLL_SECONDS)

    def _stay(self, stage: Stage) -> NoReturn:
        report.print_next(LOGS)
        while True:
            stage.look_around(POLL_SECONDS)


def _poll(results: Results) -> None:
    # A busy or restarting web server: the next round asks again, and the stall deadline still counts.
    with contextlib.suppress(requests.RequestException):
        results.poll()
