"""Brings the system up: databases, queues, log-in, every process, and the wait until it is ready."""

import socket
import time
from dataclasses import replace
from pathlib import Path

import requests

from producer.demo import accounts, environment, parts, ports
from producer.demo.environment import EXPORTS_FILE, LOGS, ROOT, Places
from producer.demo.interruption import Interruption
from producer.demo.keys import DemoKeys, write_private
from producer.demo.output import say
from producer.demo.parts import Part
from producer.demo.processes import Child, ProcessError, Supervisor

STEP_SECONDS = 180  # a migration on a slow disk; a step that takes longer hangs
READY_SECONDS = 90  # all processes start at once, on a small machine that takes a while
WEB_PORT = 8000
CONSUMER_PORT = 8001


class Stage:
    def __init__(
        self, supervisor: Supervisor, interruption: Interruption, keys: DemoKeys, with_consumer: bool, run: int
    ) -> None:
        """`run` tells this run from others: it is part of node names and of the API client's name."""
        self._supervisor = supervisor
        self._interruption = interruption
        self._keys = keys
        self._base = environment.current()
        self._with_consumer = with_consumer
        self._run = run
        self._web = ports.listen(WEB_PORT)
        self._consumer_web: socket.socket | None = ports.listen(CONSUMER_PORT) if with_consumer else None
        consumer_url = ports.url(self._consumer_web) if self._consumer_web else None
        self.places = Places(ports.url(self._web), consumer_url)

    def close(self) -> None:
        self._web.close()
        if self._consumer_web:
            self._consumer_web.close()

    def set_up(self) -> None:
        if not (self._base.get("DATABASE_URL") and self._base.get("BROKER_URL")):
            say("Embedded default: for trying out only (a single relay, and the broker does not redeliver).")
        say("Preparing databases and queues …")
        self._prepare()
        self._start(parts.web(self._web.fileno()), self._web.fileno())
        if self._consumer_web:
            self._start(parts.consumer_web(self._consumer_web.fileno()), self._consumer_web.fileno())
            self._start(parts.consumer_worker(self._run))
        for part in parts.workers(self._run):
            self._start(part)
        say(f"Starting {', '.join(child.name for child in self._supervisor.children)} …")
        self._wait_for_answer(f"{self.places.producer_url}/livez")
        if self.places.consumer_url:
            self._wait_for_answer(f"{self.places.consumer_url}/")
        self._wait_until_ready()
        self._print_exports()

    def look_around(self, pause: float = 0.1) -> None:
        """Raises when somebody wants to stop or when a part died."""
        self._interruption.check()
        self._supervisor.check()
        if pause:
            time.sleep(pause)

    def _prepare(self) -> None:
        migrations = [self._step("migrate", parts.manage("migrate", "--noinput"), ROOT)]
        if self._with_consumer:
            command = parts.manage("migrate", "--noinput")
            migrations.append(self._step("consumer-migrate", command, parts.CONSUMER_FOLDER))
        for child in migrations:
            self._supervisor.finish(child, STEP_SECONDS, self._interruption.check)
        topology = self._step("topology", parts.manage("declare_topology"), ROOT)
        self._supervisor.finish(topology, STEP_SECONDS, self._interruption.check)
        accounts.ensure_admin(self._keys.admin_password)
        # A client of its own for each run: its external ids and its list start empty.
        self.places = replace(self.places, api_key=accounts.create_api_key(f"demo-{self._run}"))

    def _step(self, name: str, command: tuple[str, ...], folder: Path) -> Child:
        return self._supervisor.start(name, command, self._environment(folder != ROOT), folder)

    def _start(self, part: Part, *descriptors: int) -> None:
        made = self._environment(part.of_consumer)
        self._supervisor.start(part.name, part.command, made, part.folder, descriptors, part.wave)

    def _environment(self, of_consumer: bool) -> dict[str, str]:
        make = environment.consumer_environment if of_consumer else environment.producer_environment
        return make(self._base, self._keys, self.places)

    def _wait_for_answer(self, url: str) -> None:
        answer = self._ask_until_good(url, READY_SECONDS)
        if answer is not None:
            raise ProcessError(f"{url} did not answer within {READY_SECONDS} s: {answer}\nLogs: {LOGS}")

    def _wait_until_ready(self) -> None:
        url = f"{self.places.producer_url}/readyz"
        answer = self._ask_until_good(url, READY_SECONDS)
        if answer is not None:
            # Something old may wait, say in a database that was used before. Whether this run gets its results shows.
            say(f"{url} still says: {answer}\nGoing on all the same.")

    def _ask_until_good(self, url: str, seconds: float) -> str | None:
        """None for a good answer in time, else the last one."""
        deadline = time.monotonic() + seconds
        session = requests.Session()
        session.trust_env = False  # no proxy for loopback
        answer = "nothing"
        while time.monotonic() < deadline:
            self.look_around()
            try:
                response = session.get(url, timeout=3)
            except requests.RequestException as error:
                answer = str(error)
            else:
                if response.ok:
                    return None
                answer = f"{response.status_code} {response.text[:500]}"
        return answer

    def _print_exports(self) -> None:
        exports = [
            f"export PRODUCER_URL={self.places.producer_url}",
            f"export PRODUCER_API_KEY={self.places.api_key}",
            f"export RESULT_WEBHOOK_SECRET={environment.result_webhook_secret(self._base, self._keys)}",
            f"export CONSUMER_URL={self.places.consumer_url or ''}",
        ]
        write_private(EXPORTS_FILE, "\n".join(exports) + "\n")
        say()
        say("# To go on from another shell (or: . var/demo.env):")
        for line in exports:
            say(line)
        say()
