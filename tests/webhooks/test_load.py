"""Results thrice each, in random order, from many senders, while workers are killed: each transaction changes once.

COUNT=10000 SEED=7 pytest -s tests/webhooks/test_load.py
"""

import contextlib
import json
import os
import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.settings import BROKER_URL, DATABASE_URL
from tests.stack import SECRET, Stack, plain, wait_for
from webhooks.signing import sign
from webhooks.signing_keys import load_key

COUNT = int(os.environ.get("COUNT", "1500"))
SEED = int(os.environ.get("SEED") or random.randrange(2**32))
SENDERS, COPIES, WORKERS = 8, 3, 2
# Seconds: the senders' part at a tenth of the usual rate, and the rest.
LIMIT_SECONDS = 60 + COUNT / 10
KEY = load_key(SECRET)

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.rabbitmq,
    pytest.mark.processes,
    pytest.mark.timeout(120 + 2 * LIMIT_SECONDS),
]


@pytest.fixture
def stack(tmp_path):
    # The clock's tick finds what a killed worker had; its lease is short so that the test is.
    made = Stack(tmp_path, DATABASE_URL, BROKER_URL, INBOX_LEASE_SECONDS="4", WEBHOOK_RATE_PER_SECOND="100000")
    yield made
    made.close()


def create(stack, count):
    """The ids of `count` new transactions, by the batch API."""
    ids = []
    for start in range(0, count, 1000):
        body = {"transactions": [plain(number) for number in range(start, min(start + 1000, count))]}
        answer = stack.post("/api/v1/transactions/batch", body, f"load-{start}")
        assert answer.status_code == 201, answer.text[:500]
        ids += [row["id"] for row in answer.json()["data"]]
    return ids


def result_of(transaction_id, outcome):
    data = {"transaction_id": transaction_id, "transaction_version": 1}
    data |= {"processed_data": {"n": 1}} if outcome == "succeeded" else {"error": {"code": "no", "message": "No."}}
    return json.dumps({"type": f"transaction.{outcome}", "timestamp": "2026-11-22T10:15:00Z", "data": data}).encode()


class Sender:
    """One of the Consumer's processes: posts until it has a 2xx, as a sender of webhooks does."""

    def __init__(self, stack):
        self.url, self.session, self.answers = stack.url, requests.Session(), []

    def deliver(self, delivery):
        webhook_id, body = delivery
        for _ in range(100):
            now = int(time.time())
            headers = {
                "Content-Type": "application/json",
                "webhook-id": webhook_id,
                "webhook-timestamp": str(now),
                "webhook-signature": sign(KEY, webhook_id, now, body),
            }
            answer = self.session.post(f"{self.url}/api/v1/webhooks/results", body, headers=headers, timeout=15)
            if answer.status_code in {200, 202}:
                self.answers.append(answer.status_code)
                return
            assert answer.status_code in {429, 503}, answer.text
            time.sleep(float(answer.headers["Retry-After"]))
        raise AssertionError("never taken")


class Killer:
    """kill -9 of a random worker's process group while there is work; each is started again by its supervisor."""

    def __init__(self, stack, workers, chance):
        self.stack, self.workers, self.chance, self.kills = stack, workers, chance, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def applied(self):
        return self.stack.sql("SELECT count(*) FROM webhooks_inboxmessage WHERE state = 'applied'")[0][0]

    def _run(self):
        # By progress and not by the clock: a worker is killed when some more results were applied since the last.
        last = 0
        while not self.done.wait(0.05):
            now = self.applied()
            if now > last:
                last = now + self.chance.randrange(COUNT // 25)
                # The last victim may not have been started again yet, on a busy machine.
                with contextlib.suppress(ProcessLookupError):
                    self.chance.choice(self.workers).kill()
                    self.kills += 1


def test_results_thrice_in_any_order_with_workers_killed_change_each_transaction_once(stack):
    print(f"\nSEED={SEED} COUNT={COUNT}")
    chance = random.Random(SEED)
    stack.web(), stack.beat(supervised=True)
    ids = create(stack, COUNT)
    outcomes = {txn_id: chance.choice(["succeeded", "failed"]) for txn_id in ids}
    deliveries = [(f"msg_{txn_id}", result_of(txn_id, outcome)) for txn_id, outcome in outcomes.items()] * COPIES
    chance.shuffle(deliveries)
    workers = [named_worker(stack, f"worker-{number}") for number in range(WORKERS)]
    killer, senders = Killer(stack, workers, chance), [Sender(stack) for _ in range(SENDERS)]
    started = time.monotonic()
    killer.thread.start()
    with ThreadPoolExecutor(SENDERS) as pool:
        shares = [deliveries[number::SENDERS] for number in range(SENDERS)]
        work = [
            pool.submit(lambda s=s, d=d: [s.deliver(one) for one in d]) for s, d in zip(senders, shares, strict=True)
        ]
        [one.result() for one in work]
    sent = time.monotonic() - started
    waiting = "SELECT count(*) FROM webhooks_inboxmessage WHERE state IN ('received', 'failed', 'unmatched')"
    wait_for(lambda: killer.applied() >= 0.9 * COUNT, LIMIT_SECONDS, "most are applied with workers dying")
    killer.done.set()
    killer.thread.join(30)
    wait_for(lambda: stack.sql(waiting) == [(0,)], LIMIT_SECONDS, "no result waits any more")
    seconds = time.monotonic() - started
    deaths = sum(len(worker.deaths) for worker in workers)
    check(stack, outcomes, senders)
    assert killer.kills >= 3 and deaths >= killer.kills, "workers did die"
    assert all(code == -9 for worker in workers for code in worker.deaths)
    retried = stack.sql("SELECT count(*) FROM webhooks_inboxmessage WHERE attempts > 1")[0][0]
    print(
        f"{COUNT} results x {COPIES} sent in {sent:.1f} s ({COPIES * COUNT / sent:.0f}/s), all applied in {seconds:.1f} s, "
        f"{killer.kills} workers killed, {retried} results claimed again; lost 0, applied twice 0, stuck 0"
    )


def named_worker(stack, name):
    """Stack knows one worker by name; here are several, each supervised."""
    command = ["-m", "celery", "-A", "producer", "worker", "-n", f"{name}-{uuid.uuid4().hex[:6]}@%h"]
    options = ["-Q", "producer.tasks.v1,producer.results.v1", "-P", "solo", "--without-gossip", "--without-mingle"]
    return stack.start(name, [*command, *options], supervised=True)


def check(stack, outcomes, senders):
    """Each transaction has the outcome that was sent, by one applied result and one change; the sums add up."""
    answers = [answer for sender in senders for answer in sender.answers]
    assert (answers.count(202), answers.count(200)) == (len(outcomes), (COPIES - 1) * len(outcomes))
    found = dict(stack.sql("SELECT id::text, status FROM transactions_transaction"))
    assert found == outcomes
    once = (
        "SELECT count(*), count(DISTINCT transaction_id), count(*) FILTER (WHERE state = 'applied') "
        "FROM transactions_historyentry WHERE kind = 'result'"
    )
    assert stack.sql(once) == [(len(outcomes),) * 3]
    changes = (
        "SELECT count(*), count(DISTINCT transaction_id) FROM transactions_historyentry "
        "WHERE kind = 'change' AND by = 'consumer'"
    )
    assert stack.sql(changes) == [(len(outcomes),) * 2]
    states = dict(stack.sql("SELECT state, count(*) FROM webhooks_inboxmessage GROUP BY 1"))
    statuses = stack.statuses()
    # I7: submitted = applied + waiting + dead + canceled.
    waiting = statuses.get("pending", 0) + statuses.get("processing", 0)
    parts = (states.get("applied", 0), waiting, states.get("dead", 0), statuses.get("canceled", 0))
    assert parts == (len(outcomes), 0, 0, 0) and sum(parts) == len(outcomes)
    assert stack.sql("SELECT count(*), sum(deliveries) FROM webhooks_inboxmessage") == [
        (len(outcomes), COPIES * len(outcomes))
    ]
    assert stack.sql("SELECT count(*) FROM transactions_transaction WHERE version <> 1") == [(0,)]
