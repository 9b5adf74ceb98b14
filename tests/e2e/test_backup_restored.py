"""A backup taken under traffic, the server lost, the backup restored to another one while clients go on asking."""

import sqlite3
import subprocess
import threading
import time
from decimal import Decimal

import pytest
import requests

from tests.private_postgres import PrivatePostgres
from tests.settings import BROKER_URL
from tests.stack import Stack, plain, wait_for

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.rabbitmq,
    pytest.mark.processes,
    pytest.mark.long,
    pytest.mark.timeout(500),
]


class Dump:
    """`pg_dump` into a file."""

    def __init__(self, lost, folder):
        self.lost, self.file = lost, folder / "backup"

    def take(self, stack):
        tool(self.lost, "pg_dump", "-Fc", "-f", self.file, stack.database_url)

    def restored(self, stack):
        server = PrivatePostgres()
        server.start()
        server.sql(f'CREATE DATABASE "{stack.name}"')
        tool(server, "pg_restore", "--exit-on-error", "-d", f"{server.url.rsplit('/', 1)[0]}/{stack.name}", self.file)
        return server


class PointInTime:
    """A copy of the files from before, and the log up to a point."""

    def __init__(self, lost, folder):
        self.lost = lost
        lost.base_backup()

    def take(self, stack):
        self.lost.recovery_point("wanted")

    def restored(self, stack):
        server = PrivatePostgres(recovered=(self.lost, "wanted"))
        server.start()
        wait_for(
            lambda: server.sql("SELECT pg_is_in_recovery()") == [(False,)], 60, "it has recovered and takes writes"
        )
        return server


@pytest.fixture
def servers():
    """The first is lost."""
    made = [PrivatePostgres(archiving=True)]
    made[0].start()
    yield made
    for server in made:
        server.close()


@pytest.fixture
def lost(servers):
    return servers[0]


@pytest.fixture
def stack(tmp_path, lost):
    (tmp_path / "stack").mkdir()
    # Soon overdue, so that what the restored database does not know yet is asked for within the test.
    made = Stack(tmp_path / "stack", lost.url, BROKER_URL, RESULT_DEADLINE_SECONDS="5")
    yield made
    made.close()


class Clients:
    """Each submits one after the other, and repeats with the same key what had no answer, until stopped."""

    def __init__(self, stack, count=4):
        self.stack, self.stopping, self.lock, self.number, self.answers = (
            stack,
            threading.Event(),
            threading.Lock(),
            0,
            [],
        )
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _work(self):
        while not self.stopping.is_set():
            with self.lock:
                self.number += 1
                number = self.number
            while True:
                try:
                    answer = self.stack.post("/api/v1/transactions", plain(number), f"key-{number}")
                except requests.RequestException:
                    answer = None
                if answer is not None and answer.status_code == 201:
                    break
                assert answer is None or answer.status_code in {409, 503}, answer.text
                time.sleep(0.2)
            with self.lock:
                self.answers.append((f"key-{number}", answer.json()))
            time.sleep(0.1)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads), "a request never had its answer"


def start_all(stack):
    stack.web(), stack.worker(), stack.beat(), stack.relay(), stack.consumer_web(), stack.consumer_worker()


def tool(server, program, *arguments):
    command = [str(server.bin / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def decisions(stack):
    """What the Consumer decided: the type of each result, by transaction."""
    with sqlite3.connect(f"file:{stack.folder / 'consumer.sqlite3'}?mode=ro", uri=True, timeout=20) as consumer:
        return consumer.execute("SELECT transaction_id, type FROM consumer_result").fetchall()


@pytest.mark.parametrize("kind", [Dump, PointInTime])
def test_a_backup_restored_under_traffic_keeps_what_was_accepted_before_it(stack, lost, tmp_path, kind, servers):
    backup = kind(lost, tmp_path)
    start_all(stack)
    clients = Clients(stack)
    wait_for(lambda: len(clients.answers) > 100, 60, "the clients are served")

    # Nothing leaves for a moment, so that the backup holds events that the Consumer will have seen all the same.
    for name in ("relay", "beat"):
        stack.processes[name].end()
    already = len(clients.answers)
    wait_for(lambda: len(clients.answers) > already + 20, 60, "the clients are served without a relay")
    with clients.lock:
        before = dict(clients.answers)
    backup.take(stack)
    stack.relay(), stack.beat()
    taken = len(clients.answers)
    wait_for(lambda: len(clients.answers) > taken + 50, 60, "the clients go on after the backup")
    ids = [body["id"] for body in before.values()]
    waiting = "SELECT count(*) FROM transactions_transaction WHERE id = ANY(%s::uuid[]) AND status IN ('pending', 'processing')"
    wait_for(lambda: stack.sql(waiting, ids) == [(0,)], 60, "the Consumer has seen all that the backup holds")

    lost.kill()
    time.sleep(1)
    for process in stack.processes.values():
        process.end()
    # As docs/operations.md says.
    restored = backup.restored(stack)
    servers.append(restored)
    stack.admin_url, stack.database_url = restored.url, f"{restored.url.rsplit('/', 1)[0]}/{stack.name}"
    stack.env["DATABASE_URL"] = stack.database_url
    stack.manage("migrate", "--verbosity=0")
    stack.manage("declare_topology")
    unsent = {row[0] for row in stack.sql("SELECT key FROM outbox_outboxmessage WHERE state <> 'published'")}
    assert unsent & set(ids), "the backup holds nothing that must be sent again: the test proves too little"
    decided = len(decisions(stack))
    start_all(stack)
    again = time.time()
    counted = len(clients.answers)
    wait_for(lambda: len(clients.answers) > counted + 50, 60, "the clients are served by the restored one")
    clients.stop()

    rows = {row[0]: row[1:] for row in stack.sql("SELECT id::text, status, amount FROM transactions_transaction")}
    assert set(ids) <= set(rows), "what was accepted before the backup is there"
    open_ones = "SELECT count(*) FROM transactions_transaction WHERE status IN ('pending', 'processing')"
    wait_for(lambda: stack.sql(open_ones) == [(0,)], 120, "each has its result, the old ones by what the Consumer knew")
    for key, body in list(before.items())[:20]:
        replayed = stack.post("/api/v1/transactions", plain(int(key.split("-")[1])), key)
        assert (replayed.status_code, replayed.json()["id"]) == (201, body["id"])

    rows = {row[0]: row[1:] for row in stack.sql("SELECT id::text, status, amount FROM transactions_transaction")}
    told = decisions(stack)
    assert len(told) == len({txn_id for txn_id, _ in told}), "the Consumer decided nothing twice"
    by_consumer = {txn_id: kind.removeprefix("transaction.") for txn_id, kind in told}
    assert {txn_id: by_consumer[txn_id] for txn_id in rows} == {txn_id: status for txn_id, (status, _) in rows.items()}
    amounts = {body["id"]: Decimal(body["amount"]) for _, body in clients.answers}
    assert sum(amount for _, amount in rows.values()) == sum(amounts[txn_id] for txn_id in rows)
    stack.check_applied_once(len(rows))
    gone = set(amounts) - set(rows)
    print(
        f"{len(before)} accepted before the backup, {len(unsent)} of their events unsent in it; {len(gone)} accepted after "
        f"it and gone; {len(told) - decided} decided since the restore, all settled after {time.time() - again:.0f} s"
    )
