"""One private world a run: PostgreSQL, RabbitMQ, proxies, every process of the system, clients, tap and ledger."""

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import kombu
import psycopg2
import requests
from amqp.exceptions import NotFound

from tests.faults.checker import waiting_in
from tests.faults.evidence import LEDGER, first_answers, gather, read_clients
from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.faults.streams import AmqpUnits, PostgresMessages
from tests.faults.tap import TAP, Tap
from tests.private_postgres import PrivatePostgres
from tests.private_rabbitmq import PrivateRabbitMQ
from tests.stack import QUEUES, Stack, wait_for

# Short deadlines, so that a row takes half a minute; each keeps its relation to the others (docs/settings.md).
SETTINGS = {
    "OUTBOX_LEASE_SECONDS": "6",
    "OUTBOX_PUBLISH_TIMEOUT_SECONDS": "2",
    "OUTBOX_FALLBACK_AFTER_SECONDS": "3",
    "OUTBOX_FALLBACK_TIMEOUT_SECONDS": "4",
    "OUTBOX_PROBE_SECONDS": "0.5",
    "INBOX_LEASE_SECONDS": "6",
    # Long: on a slow machine the sweep would ask again for what is only in the queue. Rows that need it set their own.
    "RESULT_DEADLINE_SECONDS": "300",
    "CONSUMER_RESULT_RETRY_SECONDS": "1 1 2 2 3 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5",
}
# After the last fault, everything has ended by then (seconds).
DRAIN_SECONDS = 120.0
# Less than 1 while one works on a row and wants it quick; says nothing then about 200 on their way.
SCALE = float(os.environ.get("SCALE", "1"))
ALL = ("web", "worker", "beat", "relay", "consumer-web", "consumer-worker")


class World:
    """Made once; `reset` makes it as new for the next row."""

    def __init__(self, folder: Path, *, max_connections: int = 100, disk_mb: int = 0, **settings: str) -> None:
        self.folder = folder
        (folder / "rabbitmq").mkdir()
        (folder / "stack").mkdir()
        self.postgres = PrivatePostgres(max_connections=max_connections, disk_mb=disk_mb)
        self.broker = PrivateRabbitMQ(folder / "rabbitmq")
        self.proxies: list[Proxy] = []
        self.stack: Stack | None = None
        try:
            with ThreadPoolExecutor(2) as pool:
                broker = pool.submit(self.broker.start)
                self.postgres.start()
                database = self.postgres.url + "?sslmode=disable"
                self.stack = Stack(
                    folder / "stack", database, self.broker.url, private_broker=True, **{**SETTINGS, **settings}
                )
                broker.result()
            self.stack.sql(LEDGER)
        except BaseException:
            self.close()
            raise
        self.settings = dict(self.stack.env)
        self.load: Load | None = None
        self.tap: Tap | None = None
        self.runs = 0

    # --- a run

    def begin(self, seed: int, *, proxied=(), rate: float = 6.0, without=(), pool=("-P", "solo"), **env: str) -> None:
        """Starts everything and waits until the first transactions have gone round."""
        self.seed, self.pool, self.sacrificed, self.answers_before = seed, pool, set(), 0
        self.runs += 1
        run = self.folder / f"run{self.runs}"
        run.mkdir()
        self.stack.env = {**self.settings, **env}
        self.db_proxy = self._proxy(self.postgres.port, PostgresMessages, seed) if "database" in proxied else None
        self.broker_proxy = self._proxy(self.broker.port, AmqpUnits, seed) if "broker" in proxied else None
        if self.db_proxy:
            self.stack.env["DATABASE_URL"] = _at(self.stack.env["DATABASE_URL"], self.db_proxy.port)
        if self.broker_proxy:
            self.stack.env["BROKER_URL"] = _at(self.stack.env["BROKER_URL"], self.broker_proxy.port)
        self.tap = Tap(self.broker.url)
        self.tap.wait_until_bound()
        self.load = Load(self.stack.url, self.stack.key, run, seed, rate=rate)
        with ThreadPoolExecutor(len(ALL)) as together:
            list(together.map(self.start, [name for name in ALL if name not in without]))
        self.load.start()
        if not without:
            wait_for(lambda: sum(self.counts(("succeeded",))) >= 20, 60, "the first transactions have gone round")

    def resume(self) -> None:
        """The next row in the same run, after `settle`: the clients go on, and `answers` holds only what comes now."""
        self.answers_before += len(self.answers())
        self.load.start()

    def running(self) -> bool:
        return bool(self.stack.processes)

    def _proxy(self, port, parser, seed):
        proxy = Proxy(port, parser, seed)
        self.proxies.append(proxy)
        return proxy

    def start(self, name: str, **options) -> None:
        """Starts a process under a supervisor; `failpoint` as in Stack.start."""
        options.setdefault("supervised", True)
        if name in {"worker", "consumer-worker"}:
            options.setdefault("pool", self.pool)
        starters = {"web": "web", "worker": "worker", "beat": "beat", "relay": "relay"}
        starters |= {"consumer-web": "consumer_web", "consumer-worker": "consumer_worker"}
        getattr(self.stack, starters[name])(**options)

    def end(self, name: str) -> None:
        process = self.stack.processes.pop(name, None)
        if process:
            process.end()

    def restart(self, name: str, **options) -> None:
        self.end(name)
        self.start(name, **options)

    def kill(self, name: str) -> None:
        """kill -9 of a process with its children, proven by its exit code; its supervisor starts it again."""
        assert self.stack.processes[name].kill() == -signal.SIGKILL, f"{name} did not die of it"

    def freeze(self, name: str) -> None:
        os.killpg(self.stack.processes[name].child.pid, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.stack.processes[name].child.pid, signal.SIGCONT)

    def burst(self, count: int = 250) -> int:
        """Sees to it that so many are on their way, beside what the clients go on submitting; returns how many are."""
        self.load.burst(round(count * SCALE) - self.in_flight())
        return self.in_flight()

    def in_flight(self) -> int:
        return sum(self.counts(("pending", "processing")))

    def counts(self, statuses) -> list[int]:
        found = self.stack.statuses()
        return [found.get(status, 0) for status in statuses]

    def visible(self, check: str, seconds: float = 15.0) -> float:
        """Waits until /readyz names the fault; returns after how long. I9 of the matrix."""
        started = time.monotonic()

        def named() -> bool:
            with contextlib.suppress(requests.RequestException):
                answer = requests.get(f"{self.stack.url}/readyz", timeout=10)
                return answer.status_code == 503 and answer.json()["checks"][check].startswith("failed")
            return False

        wait_for(named, seconds, f"/readyz names a failing {check}")
        return round(time.monotonic() - started, 1)

    # --- the end of a run

    def drain(self) -> tuple[int, float]:
        """The faults have stopped: how many are on their way now, and how long until those have ended (seconds)."""
        started = time.monotonic()
        waiting = self._patiently(
            "SELECT id FROM transactions_transaction WHERE status IN ('pending', 'processing') AND NOT id = ANY(%s::uuid[])",
            list(self.sacrificed),
        )
        ids = [str(row[0]) for row in waiting]
        query = "SELECT count(*) FROM transactions_transaction WHERE id = ANY(%s::uuid[]) AND status IN ('pending', 'processing')"
        _within(DRAIN_SECONDS, lambda: self._patiently(query, ids) == [(0,)])
        return len(ids), round(time.monotonic() - started, 1)

    def _patiently(self, statement, *parameters):
        until = time.monotonic() + 60
        while True:
            try:
                return self.stack.sql(statement, *parameters)
            except psycopg2.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def settle(self) -> None:
        """No more load; waits for the rest, within the time that a drain may take. The checker sees what is left."""
        self.unanswered = self.load.stop(60)
        _within(DRAIN_SECONDS, self._quiet)

    def _quiet(self) -> bool:
        spared = list(self.sacrificed)
        left = self.stack.sql(
            "SELECT (SELECT count(*) FROM transactions_transaction WHERE status IN ('pending', 'processing')"
            " AND NOT id = ANY(%s::uuid[])) +"
            " (SELECT count(*) FROM outbox_outboxmessage WHERE state = 'pending' AND NOT key = ANY(%s)) +"
            " (SELECT count(*) FROM webhooks_inboxmessage WHERE state IN ('received', 'failed', 'unmatched'))",
            spared,
            spared,
        )[0][0]
        # A result that came by both doors has ended its transaction, and its copy may still be on its way.
        return not left and not waiting_in(self.queue_lengths(*QUEUES, TAP), len(spared))

    def queue_lengths(self, *names: str) -> dict[str, int]:
        """Messages in each queue; 0 where there is none of that name. By AMQP: rabbitmqctl takes a second of CPU."""
        lengths = {}
        with kombu.Connection(self.broker.url, connect_timeout=5) as connection:
            for name in names:
                with contextlib.suppress(NotFound), connection.channel() as channel:
                    lengths[name] = channel.queue_declare(name, passive=True).message_count
        return {name: lengths.get(name, 0) for name in names}

    def evidence(self):
        queues = self.queue_lengths(*QUEUES, "producer.results.v1.dead")
        return gather(self.stack, self.load.log_path, self.tap.seen, queues, self.sacrificed)

    def answers(self) -> list[dict]:
        return read_clients(self.load.log_path)[self.answers_before :]

    def replay(self, most: int = 60) -> int:
        """Asks again with the keys that had most trouble, and some that had none; returns how many answers differ."""
        entries = self.answers()
        first = first_answers(entries)
        troubled = [entry["key"] for entry in entries if entry["key"] in first and entry.get("status") != 201]
        keys = list(dict.fromkeys([*troubled, *list(first)[:: max(1, len(first) // 20)]]))[:most]
        return self.load.replay({key: first[key] for key in keys})

    def reset(self) -> None:
        """Ends the run's processes and empties tables and queues."""
        if self.load:
            self.load.stop(0)
        if self.tap:
            self.tap.close()
        for proxy in self.proxies:
            proxy.close()
        self.proxies.clear()
        self.stack.env = dict(self.settings)
        self._end_all()
        # Those who start declare them anew.
        with kombu.Connection(self.broker.url) as connection, connection.channel() as channel:
            for queue in (*QUEUES, "producer.results.v1.dead", TAP):
                channel.queue_delete(queue)
        self.stack.sql("TRUNCATE faults_effect")
        self.stack.reset(purge=False)

    def _end_all(self) -> None:
        for process in self.stack.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.child.pid, signal.SIGCONT)
            process.end()

    def close(self) -> None:
        if self.__dict__.get("load"):
            self.load.stop(0)
        if self.__dict__.get("tap"):
            threading.Thread(target=self.tap.close, daemon=True).start()
        for proxy in self.proxies:
            proxy.close()
        if self.stack:
            self._end_all()
        self.broker.close()
        self.postgres.close()


def _within(seconds: float, condition) -> bool:
    """Whether it became true in time; the caller judges what is left by the evidence."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    user, _, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))
