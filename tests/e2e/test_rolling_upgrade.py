"""A deploy without a gap: a migration of a million rows under load, old and new code side by side, then only the new."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import psycopg2
import pytest
import requests

from tests.settings import BROKER_URL, DATABASE_URL
from tests.stack import ROOT, Process, Stack, free_port, plain, wait_for

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.rabbitmq,
    pytest.mark.processes,
    pytest.mark.long,
    pytest.mark.timeout(900),
]

ROWS = 1_000_000
LONGEST_LOCK_SECONDS = 1.0
# Kept out of the load balancer for so long before TERM, as ops/kubernetes does it (preStop).
DRAIN_SECONDS = 1.0
# What a next release may bring to the largest table: each a form that old code bears and that blocks nobody for long.
MIGRATION = """
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("transactions", "{last}")]
    operations = [
        migrations.RunSQL("ALTER TABLE transactions_transaction ADD COLUMN branch text NOT NULL DEFAULT ''"),
        migrations.RunSQL(
            "ALTER TABLE transactions_transaction ADD CONSTRAINT branch_is_short CHECK (length(branch) < 100) NOT VALID"
        ),
        migrations.RunSQL("ALTER TABLE transactions_transaction VALIDATE CONSTRAINT branch_is_short"),
        AddIndexConcurrently("transaction", models.Index(fields=["currency", "id"], name="transaction_by_currency")),
    ]
"""
# Modes that stop somebody from reading or writing, held on a table or wanted by somebody who waits.
LOCKS = """
    SELECT l.pid, l.mode, l.relation::regclass::text, l.granted FROM pg_locks l
      JOIN pg_stat_activity a USING (pid)
     WHERE a.datname = current_database() AND l.locktype = 'relation' AND l.pid <> pg_backend_pid()
       AND (NOT l.granted
            OR l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
       AND l.relation::regclass::text LIKE ANY (ARRAY['transactions_%', 'outbox_%', 'webhooks_%'])
"""


@pytest.fixture
def stack(tmp_path):
    (tmp_path / "stack").mkdir()
    made = Stack(tmp_path / "stack", DATABASE_URL, BROKER_URL)
    yield made
    made.close()


@pytest.fixture
def next_release(tmp_path):
    folder = tmp_path / "next"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "var", "node_modules", "__pycache__"))
    migrations = folder / "transactions" / "migrations"
    last = max(path.stem for path in migrations.glob("0*.py"))
    (migrations / "9999_next_release.py").write_text(MIGRATION.format(last=last))
    return folder


def fill(stack):
    """A million settled transactions of somebody else."""
    stack.sql("INSERT INTO transactions_apiclient (name, active, created_at) VALUES ('of before', true, now())")
    stack.sql(
        "INSERT INTO transactions_transaction (id, client_id, account_number, amount, currency, direction,"
        " transaction_date, description, metadata, status, version, created_at, updated_at, overdue, resends, processed_at)"
        " SELECT gen_random_uuid(), (SELECT id FROM transactions_apiclient WHERE name = 'of before'), 'DE1', 1, 'EUR',"
        " 'debit', now(), 'x', '{}', 'succeeded', 1, now(), now(), false, 0, now() FROM generate_series(1, %s)",
        ROWS,
    )
    stack.sql("ANALYZE transactions_transaction")


class Balancer:
    """Clients in front of whichever web servers are in service; notes every answer and every broken connection."""

    def __init__(self, stack, ports, threads=4):
        self.stack, self.ports, self.answers, self.broken = stack, list(ports), [], []
        self.numbers, self.stopping = itertools.count(1), threading.Event()
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _work(self):
        while not self.stopping.is_set():
            number = next(self.numbers)
            key = {"Authorization": f"Bearer {self.stack.key}", "Idempotency-Key": f"upgrade-{number}"}
            for _ in range(100):
                port = self.ports[number % len(self.ports)]
                url = f"http://127.0.0.1:{port}/api/v1/transactions"
                try:
                    answer = requests.post(url, json=plain(number), headers=key, timeout=15)
                except requests.RequestException as error:
                    self.broken.append(f"{port}: {error!r}")
                    continue
                self.answers.append((port, answer.status_code, answer.headers.get("Retry-After"), answer.text))
                if answer.status_code == 201:
                    break
                time.sleep(0.2)
            # A rate that one Consumer keeps up with.
            time.sleep(0.2)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads)

    def served_by(self, port):
        return sum(1 for at, status, *_ in self.answers if at == port and status == 201)


@contextmanager
def locks_watched(url):
    """Yields {(pid, mode, table, granted): longest seconds seen in one piece}."""
    longest, since, stopping, failed = {}, {}, threading.Event(), []
    connection = psycopg2.connect(url)
    # Each look by itself: an open transaction would be what the index waits for.
    connection.autocommit = True

    def look():
        try:
            with connection.cursor() as cursor:
                while not stopping.wait(0.005):
                    cursor.execute(LOCKS)
                    now, held = time.monotonic(), set(cursor.fetchall())
                    for gone in set(since) - held:
                        del since[gone]
                    for lock in held:
                        longest[lock] = max(longest.get(lock, 0.0), now - since.setdefault(lock, now))
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield longest
    stopping.set()
    thread.join(20)
    connection.close()
    assert not failed, failed


def hold_for_a_moment(url, table, seconds):
    """A lock that the watcher has to see: DDL that takes milliseconds may slip by between two looks."""
    connection = psycopg2.connect(url)
    connection.cursor().execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    time.sleep(seconds)
    connection.close()


def serve(stack, name, port, folder):
    command = [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "producer.wsgi:application"]
    env = {**stack.env, "WEB_WORKERS": "1"}
    process = Process(name, [*command, "--bind", f"127.0.0.1:{port}"], env, folder, stack.folder)
    stack.processes[name] = process
    stack.wait_http(f"http://127.0.0.1:{port}/livez")
    return process


def ends(process):
    """TERM, and it goes by itself within the grace that operators are told to give."""
    process.stopping = True
    os.kill(process.child.pid, signal.SIGTERM)
    assert process.child.wait(30) == 0


def test_a_migration_of_a_million_rows_under_load_and_a_rolling_restart(stack, next_release):
    fill(stack)
    ports = [free_port() for _ in range(4)]
    olds = [serve(stack, f"old-{n}", port, ROOT) for n, port in enumerate(ports[:2])]
    stack.worker(), stack.beat(), stack.relay(), stack.consumer_web(), stack.consumer_worker()
    clients = Balancer(stack, ports[:2])
    wait_for(lambda: min(map(clients.served_by, ports[:2])) > 20, 60, "both old servers serve")

    began = time.monotonic()
    with locks_watched(stack.database_url) as locks:
        hold_for_a_moment(stack.database_url, "webhooks_reusedwebhookid", 0.1)
        assert any(
            table == "webhooks_reusedwebhookid" and seconds > 0.05 for (_, _, table, _), seconds in locks.items()
        )
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
        done = subprocess.run(migrate, env=stack.env, cwd=next_release, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    migrated = time.monotonic() - began
    assert stack.sql("SELECT count(*) FROM pg_indexes WHERE indexname = 'transaction_by_currency'") == [(1,)]
    held = max((seconds for (*_, granted), seconds in locks.items() if granted), default=0.0)
    waited = max((seconds for (*_, granted), seconds in locks.items() if not granted), default=0.0)
    assert max(held, waited) < LONGEST_LOCK_SECONDS, locks

    before = [clients.served_by(port) for port in ports]
    wait_for(lambda: clients.served_by(ports[0]) > before[0] + 20, 60, "old code goes on with the new schema")
    for number, old in enumerate(olds):
        serve(stack, f"new-{number}", ports[2 + number], next_release)
        clients.ports = [*ports[number + 1 : 2], *ports[2 : 3 + number]]
        served = clients.served_by(ports[2 + number])
        wait_for(lambda n=number, s=served: clients.served_by(ports[2 + n]) > s + 20, 60, "old and new serve together")
        time.sleep(DRAIN_SECONDS)
        ends(old)
    for name, start in (("relay", stack.relay), ("worker", stack.worker), ("beat", stack.beat)):
        ends(stack.processes[name])
        start()
    served = clients.served_by(ports[3])
    wait_for(lambda: clients.served_by(ports[3]) > served + 20, 60, "the new ones serve alone")
    clients.stop()

    assert not clients.broken, clients.broken[:3]
    other = [answer for answer in clients.answers if answer[1] != 201]
    assert all(status == 503 and retry for _, status, retry, _ in other), other[:3]
    created = {json.loads(text)["id"] for _, status, _, text in clients.answers if status == 201}
    mine = "SELECT id::text, status FROM transactions_transaction WHERE description <> 'x'"
    wait_for(
        lambda: all(status in ("succeeded", "failed") for _, status in stack.sql(mine)), 120, "each has its result"
    )
    assert {row[0] for row in stack.sql(mine)} == created
    outcomes = "SELECT count(*), count(DISTINCT transaction_id) FROM transactions_historyentry WHERE kind = 'result' AND state = 'applied'"
    assert stack.sql(outcomes) == [(len(created), len(created))]
    print(
        f"migrated in {migrated:.1f} s; longest lock that blocks anybody {held:.2f} s, longest wait {waited:.2f} s;"
        f" {len(created)} created, {len(other)} times 503"
    )
