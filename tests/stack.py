"""The whole system as processes of its own, on a private database and a private RabbitMQ virtual host."""

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit, urlunsplit

import kombu
import psycopg2
import requests

from outbox import topology

ROOT = Path(__file__).resolve().parent.parent
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
QUEUES = ("consumer.transactions.v1", "consumer.transactions.v1.dead", "producer.results.v1", "producer.tasks.v1")
# A supervisor's pause before it starts a dead process again.
RESTART_SECONDS = 0.2
# What is made once and copied for each stack, since a process that migrates costs as much as a test. `server` is the URL of the
# one whose databases may be copies: it is there before and after all stacks. tests/conftest.py says which; else there is none.
TEMPLATE = SimpleNamespace(server=None)
FAILPOINT = ROOT / "tests" / "faults" / "failpoint.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds: float, what: str):
    """Polls `condition` until it is true; the deadline is for failures, not for timing."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


class Process:
    """One child in a process group of its own; restarted by a supervising thread when asked to be."""

    def __init__(self, name, command, env, folder, log_folder, supervised=False):
        self.name, self.command, self.env, self.folder = name, command, env, folder
        self.log_path = log_folder / f"{name}.log"
        self.supervised, self.stopping, self.deaths = supervised, False, []
        self.lock = threading.Lock()
        self.start()
        if supervised:
            threading.Thread(target=self._supervise, daemon=True).start()

    def start(self):
        with self.log_path.open("ab") as log:
            self.child = subprocess.Popen(
                self.command, env=self.env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def _supervise(self):
        while not self.stopping:
            code = self.child.wait()
            if self.stopping:
                return
            self.deaths.append(code)
            # What cannot start is not started a hundred times a second.
            time.sleep(RESTART_SECONDS)
            with self.lock:
                if not self.stopping:
                    self.start()

    def kill(self):
        """kill -9 of the whole group; the caller sees that it died by its exit code."""
        child = self.child
        os.killpg(child.pid, signal.SIGKILL)
        return child.wait(10)

    def end(self):
        """Ends it for good, with its children: for the end of a test, where grace is not what is tested."""
        with self.lock:
            self.stopping = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait(10)

    def log(self):
        return self.log_path.read_text(errors="replace")


class Stack:
    """Private services first, then whichever processes a test wants."""

    def __init__(self, folder: Path, database_url: str, broker_url: str, *, private_broker=False, **settings: str):
        self.folder = folder
        self.name = f"e2e_{uuid.uuid4().hex[:10]}"
        self.processes: dict[str, Process] = {}
        self.admin_url = database_url
        self.database_url = urlunsplit(urlsplit(database_url)._replace(path=f"/{self.name}"))
        self.own_vhost = not private_broker
        self.broker_url = broker_url
        if self.own_vhost:
            self._rabbitmqctl("add_vhost", self.name)
            user = urlsplit(broker_url).username or "guest"
            self._rabbitmqctl("set_permissions", "-p", self.name, user, ".*", ".*", ".*")
            self.broker_url = urlunsplit(urlsplit(broker_url)._replace(path=f"/{self.name}"))
        self.port, self.consumer_port = free_port(), free_port()
        self.url, self.consumer_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.consumer_port}"
        self.env = {
            **os.environ,
            "DEBUG": "false",
            "ADMIN_SECOND_FACTOR": "false",
            "SECRET_KEY": "e2e-" + self.name,
            "ALLOWED_HOSTS": "127.0.0.1",
            "DATABASE_URL": self.database_url,
            "BROKER_URL": self.broker_url,
            "PUBLIC_URL": self.url,
            "RESULT_WEBHOOK_SECRETS": SECRET,
            "RESULT_WEBHOOK_SECRET": SECRET,
            "CONSUMER_WEBHOOK_SECRETS": SECRET,
            "CONSUMER_WEBHOOK_URL": f"{self.consumer_url}/webhooks/events",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            "CONSUMER_DATABASE_URL": f"sqlite:///{folder / 'consumer.sqlite3'}",
            "CONSUMER_SECRET_KEY": "e2e-consumer-" + self.name,
            "CONSUMER_ALLOWED_HOSTS": "127.0.0.1",
            "PRODUCER_URL": self.url,
            "OUTBOX_LEASE_SECONDS": "10",
            "OUTBOX_FALLBACK_TIMEOUT_SECONDS": "8",
            "INBOX_LEASE_SECONDS": "10",
            "LOG_LEVEL": "INFO",
            "API_RATE_PER_SECOND": "10000",
            "API_RATE_BURST": "10000",
            **settings,
        }
        self.env.pop("DJANGO_SETTINGS_MODULE", None)
        self.key = self._made_database()
        if self.own_vhost and TEMPLATE.server:
            with topology.connect(self.broker_url) as connection:
                topology.declare(connection, topology.all_queues())
        elif self.own_vhost:
            self.manage("declare_topology")
        self.env["PRODUCER_API_KEY"] = self.key
        shutil.copy(self._migrated_consumer(), folder / "consumer.empty")
        shutil.copy(folder / "consumer.empty", folder / "consumer.sqlite3")

    def _made_database(self):
        """A migrated database with a client; the client's key. Migrated once on a server that outlives the stack, then copied."""
        if self.admin_url != TEMPLATE.server:
            self._sql_admin(f'CREATE DATABASE "{self.name}"')
            return self._migrated()
        if not hasattr(TEMPLATE, "key"):
            TEMPLATE.name = f"{self.name}_template"
            self._sql_admin(f'CREATE DATABASE "{TEMPLATE.name}"')
            atexit.register(self._sql_admin, f'DROP DATABASE "{TEMPLATE.name}" WITH (FORCE)')
            where = urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{TEMPLATE.name}"))
            TEMPLATE.key = self._migrated(DATABASE_URL=where)
        self._sql_admin(f'CREATE DATABASE "{self.name}" TEMPLATE "{TEMPLATE.name}"')
        return TEMPLATE.key

    def _migrated(self, **env):
        self.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], **env)
        told = self.run([sys.executable, "manage.py", "create_api_client", "e2e"], **env)
        return told.strip().splitlines()[-1]

    def _migrated_consumer(self):
        """The file of an empty Consumer's database, made once."""
        if not hasattr(TEMPLATE, "consumer"):
            TEMPLATE.folder = tempfile.TemporaryDirectory()
            made = Path(TEMPLATE.folder.name) / "consumer.sqlite3"
            migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
            self.run(migrate, ROOT / "consumer", CONSUMER_DATABASE_URL=f"sqlite:///{made}")
            TEMPLATE.consumer = made
        return TEMPLATE.consumer

    # --- services

    def _sql_admin(self, statement):
        connection = psycopg2.connect(self.admin_url)
        try:
            connection.autocommit = True
            connection.cursor().execute(statement)
        finally:
            connection.close()

    def sql(self, statement, *parameters):
        connection = psycopg2.connect(self.database_url)
        try:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else cursor.rowcount
        finally:
            connection.close()

    @staticmethod
    def _rabbitmqctl(*arguments):
        done = subprocess.run(["rabbitmqctl", "-q", *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def queue(self, name):
        """(type, messages) of a queue as the broker sees it."""
        rows = self._rabbitmqctl("list_queues", "-p", self.name, "--formatter=json", "name", "type", "messages")
        return next((row["type"], row["messages"]) for row in json.loads(rows) if row["name"] == name)

    # --- processes

    def run(self, command, folder=ROOT, **env):
        done = subprocess.run(command, env={**self.env, **env}, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manage(self, *arguments):
        return self.run([sys.executable, "manage.py", *arguments])

    def start(self, name, command, *, consumer=False, failpoint=None, supervised=False, host=None, **env):
        """Starts a process by the arguments after `python`; `failpoint` is (point, when, skip), `host` a network namespace."""
        prefix = [*(host.prefix if host else []), sys.executable]
        if failpoint:
            point, when, skip = failpoint
            prefix += [str(FAILPOINT), point, when, str(skip), str(self.marker(name)), "--"]
        self.processes[name] = Process(
            name,
            [*prefix, *command],
            {**self.env, **env},
            ROOT / "consumer" if consumer else ROOT,
            self.folder,
            supervised,
        )
        return self.processes[name]

    def marker(self, name):
        """The file that proves that a process reached its failpoint."""
        return self.folder / f"{name}.marker"

    def web(self, **options):
        bind = ["-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "producer.wsgi:application", "--bind"]
        process = self.start("web", [*bind, f"127.0.0.1:{self.port}"], **options)
        self.wait_http(f"{self.url}/livez")
        return process

    def worker(self, **options):
        queues = "producer.tasks.v1,producer.results.v1"
        return self._celery("worker", "producer", queues, **options)

    def beat(self, **options):
        return self.start("beat", ["-m", "celery", "-A", "producer", "beat", "--pidfile="], **options)

    def relay(self, **options):
        return self.start("relay", ["manage.py", "relay"], **options)

    def consumer_worker(self, **options):
        return self._celery("consumer-worker", "reference", "consumer.transactions.v1", consumer=True, **options)

    def _celery(self, name, application, queues, pool=("-P", "solo"), **options):
        # solo: the process that a failpoint kills is the whole worker.
        worker = ["-m", "celery", "-A", application, "worker", "-n", f"{name}-{uuid.uuid4().hex[:6]}@%h", "-Q", queues]
        return self.start(name, [*worker, *pool, "--without-gossip", "--without-mingle"], **options)

    def consumer_web(self, **options):
        conf = str(ROOT / "ops" / "gunicorn.conf.py")
        bind = ["-m", "gunicorn", "-c", conf, "reference.wsgi:application", "--bind"]
        process = self.start("consumer-web", [*bind, f"127.0.0.1:{self.consumer_port}"], consumer=True, **options)
        self.wait_http(f"{self.consumer_url}/livez")
        return process

    def wait_http(self, url):
        def up():
            with contextlib.suppress(requests.RequestException):
                return requests.get(url, timeout=2).status_code == 200
            return False

        wait_for(up, 30, f"{url} answers")

    # --- a client

    def submit(self, count, threads=8, body=None, first=0):
        """Creates transactions over HTTP as a client would; returns them as answered."""

        def one(number):
            sent = body(number) if body else plain(number)
            for _ in range(50):
                try:
                    answer = self.post("/api/v1/transactions", sent, f"{self.name}-{number}")
                except requests.ConnectionError:
                    time.sleep(0.2)
                    continue
                if answer.status_code == 201:
                    return answer.json()
                assert answer.status_code in {409, 429, 503}, answer.text
                time.sleep(float(answer.headers["Retry-After"]))
            raise AssertionError("the API never took it")

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, range(first, first + count)))

    def post(self, path, body, key):
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key}
        return requests.post(self.url + path, json=body, headers=headers, timeout=15)

    def patch(self, path, body):
        headers = {"Authorization": f"Bearer {self.key}", "If-Match": "*"}
        return requests.patch(self.url + path, json=body, headers=headers, timeout=15)

    def idle_in_transaction(self):
        """How many connections to our database hold a transaction open."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
        return self.sql(query, self.name)[0][0]

    def get(self, path, **parameters):
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = requests.get(self.url + path, headers=headers, params=parameters, timeout=15)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def statuses(self):
        return dict(self.sql("SELECT status, count(*) FROM transactions_transaction GROUP BY 1"))

    def settled(self, count):
        found = self.statuses()
        return found.get("succeeded", 0) + found.get("failed", 0) == count

    def check_applied_once(self, count):
        """Every transaction has its outcome, by exactly one applied result, at exactly one version."""
        assert self.settled(count), self.statuses()
        # A result may overtake the settlement of its event: a dead relay's lease has to end first.
        unsent = "SELECT count(*) FROM outbox_outboxmessage WHERE state <> 'published'"
        wait_for(lambda: self.sql(unsent) == [(0,)], 30, "every event is settled")
        outcomes = self.sql(
            "SELECT count(*), count(DISTINCT transaction_id) FROM transactions_historyentry "
            "WHERE kind = 'result' AND state = 'applied'"
        )
        assert outcomes == [(count, count)]
        changes = self.sql(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM transactions_historyentry WHERE kind = 'change' "
            "AND status IN ('succeeded', 'failed') GROUP BY transaction_id) AS per_transaction"
        )
        assert changes == [(1,)]
        assert self.sql("SELECT count(*) FROM transactions_transaction WHERE version <> 1") == [(0,)]

    def reset(self, purge=True):
        """Everything as after the set-up: no process, no row, no message. Quicker than a new stack, and as clean."""
        for process in self.processes.values():
            process.end()
        self.processes.clear()
        self.sql(
            "TRUNCATE transactions_transaction, transactions_historyentry, transactions_idempotencykey, "
            "outbox_outboxmessage, outbox_channelstate, webhooks_inboxmessage, webhooks_reusedwebhookid"
        )
        if purge:
            with kombu.Connection(self.broker_url) as connection, connection.channel() as channel:
                for queue in QUEUES:
                    channel.queue_purge(queue)
        for path in self.folder.glob("consumer.sqlite3*"):
            path.unlink()
        for path in self.folder.glob("*.marker"):
            path.unlink()
        shutil.copy(self.folder / "consumer.empty", self.folder / "consumer.sqlite3")

    def close(self):
        for process in self.processes.values():
            process.end()
        self._sql_admin(f'DROP DATABASE "{self.name}" WITH (FORCE)')
        if self.own_vhost:
            self._rabbitmqctl("delete_vhost", self.name)


def plain(number):
    return {
        "account_number": "DE89370400440532013000",
        "amount": f"{number + 1}.25",
        "currency": "EUR",
        "direction": "debit",
        "description": f"Invoice {number}",
        "external_id": f"inv-{number}",
    }
