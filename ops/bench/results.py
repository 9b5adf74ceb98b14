"""Results: how many are accepted and how many applied a second, next to the least that could do it; on PostgreSQL.

    python ops/bench/results.py [--rounds 5] [--seconds 3] [--only receiver|worker]

The receiver and its rival (a bare Django view that inserts one row) run under the same gunicorn settings. The worker's
rival sends the same statements, in transactions of the same size, from bare psycopg2. Interleaved rounds on a database
made for the run and dropped after it. Read the ratios: other load on the machine hits both alike.
"""

# ruff: noqa: PLC0415 - Django's settings name the database, which is made first

import argparse
import contextlib
import cProfile
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg2
import psycopg2.extras

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

from api import PORTS, WARM_UP_SECONDS, System, private_database, spread  # noqa: E402
from api_load import Round, request, run  # noqa: E402

from webhooks.signing import generate_secret, load_key, sign  # noqa: E402

SECRET = generate_secret()
KEY = load_key(SECRET)


def body_of(transaction_id: str) -> bytes:
    """A result of the usual size."""
    processed = {"reference": "BK-2026-000881", "booked_at": "2026-11-22T10:15:02Z", "checks": ["limit", "sanctions"]}
    data = {"transaction_id": transaction_id, "transaction_version": 1, "processed_data": processed}
    return json.dumps({"type": "transaction.succeeded", "timestamp": "2026-11-22T10:15:03Z", "data": data}).encode()


def delivery(path: str) -> bytes:
    """A fresh, signed delivery; signing it is the sender's time and the same for both."""
    body, webhook_id, now = body_of(str(uuid.uuid4())), f"msg_{uuid.uuid4().hex}", int(time.time())
    signature = sign(KEY, webhook_id, now, body)
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(now), "webhook-signature": signature}
    return request(path, body, headers)


def receiver(database: str, rounds: int, seconds: float) -> None:
    """Accepted a second."""
    with tempfile.TemporaryDirectory() as state, contextlib.ExitStack() as stack:
        ours, floor = System("ours", database, state), System("floor", database, state)
        ours.environment |= {"RESULT_WEBHOOK_SECRETS": SECRET}
        # The limiter works on every delivery; it is only never reached.
        ours.environment |= {"WEBHOOK_RATE_PER_SECOND": "1000000", "WEBHOOK_RATE_BURST": "1000000"}
        floor.manage("migrate", "--verbosity=0", "--run-syncdb")
        for system in (ours, floor):
            stack.enter_context(system.serving())
        time.sleep(3)
        paths = {"ours": "/api/v1/webhooks/results", "floor": "/delivery"}
        for connections in (8, 32):
            done: dict[str, list[Round]] = {name: [] for name in paths}
            for number in range(rounds):
                for name in list(paths)[:: -1 if number % 2 else 1]:
                    done[name].append(accepted(name, paths[name], connections, seconds))
            rates = {name: [one.rate for one in some] for name, some in done.items()}
            p99 = {name: statistics.median(one.percentile(0.99) for one in some) for name, some in done.items()}
            report(f"webhook-receiver-{connections}", rates["ours"], rates["floor"], "results/s", ">= 0.6")
            print(f"{'':<28} p99 {p99['ours']:.0f} ms, the other {p99['floor']:.0f} ms", flush=True)


def accepted(name: str, path: str, connections: int, seconds: float) -> Round:
    """One round, warmed up. A refusal ends the benchmark: a fast error is no result."""
    port = PORTS[name]
    run(port, connections, WARM_UP_SECONDS, lambda: delivery(path), b"202")
    done = run(port, connections, seconds, lambda: delivery(path), b"202")
    if done.refused:
        raise SystemExit(f"{name}: {len(done.refused)} refused, first: {done.refused[0][:800]!r}")
    return done


FILL = """
INSERT INTO transactions_transaction (id, client_id, account_number, amount, currency, direction, transaction_date,
    description, metadata, status, version, overdue, resends, check_at, created_at, updated_at)
SELECT gen_random_uuid(), %s, 'DE89370400440532013000', 125.50, 'EUR', 'debit', now(), 'Invoice', '{{}}', 'pending', 1,
    false, 0, now() + interval '1 hour', now(), now() FROM generate_series(1, %s);
INSERT INTO webhooks_inboxmessage (webhook_id, sha256, body, key_id, sent_at, door, deliveries, state, reason,
    transaction_id, type, attempts)
SELECT 'msg_' || id, sha256(id::text::bytea), convert_to(replace(%s, 'THE-ID', id::text), 'UTF8'), 'key', 0, 'webhook', 1,
    'received', '', id, 'transaction.succeeded', 0 FROM transactions_transaction ORDER BY random();
""".replace("{{}}", "{}")


LOCK = "SELECT status, version, updated_at FROM transactions_transaction WHERE id = %s FOR UPDATE"
APPLY = """
WITH txn AS (
    UPDATE transactions_transaction SET status = 'succeeded', updated_at = now(), processed_data = %(data)s,
           processed_at = now(), overdue = false, check_at = NULL, error = NULL WHERE id = %(id)s RETURNING id
)
INSERT INTO transactions_historyentry (transaction_id, kind, at, version, status, by, webhook_id, type, state, door)
SELECT txn.id, entry.kind, now(), entry.version, entry.status, entry.by, entry.webhook_id, entry.type, entry.state, entry.door
  FROM txn, (VALUES (1, 'change', 1, 'succeeded', 'consumer', '', '', '', ''),
                    (2, 'result', NULL, '', '', %(webhook_id)s, %(type)s, 'applied', %(door)s))
         AS entry(place, kind, version, status, by, webhook_id, type, state, door) ORDER BY entry.place
"""


class Worker:
    """Applies a backlog with the product, and with the same statements by hand."""

    def __init__(self, database: str) -> None:
        import django

        os.environ.update(DJANGO_SETTINGS_MODULE="producer.settings", DATABASE_URL=database, LOG_LEVEL="ERROR")
        os.environ.update(DEBUG="false", SECRET_KEY="bench", ALLOWED_HOSTS="-", RESULT_WEBHOOK_SECRETS=SECRET)
        django.setup()
        from django.conf import settings
        from django.db import connection

        from transactions.clients import create_client
        from transactions.models import ApiClient
        from webhooks import inbox, services

        create_client("worker-bench")
        self.client_id = ApiClient.objects.get().id
        self.settings, self.connection, self.services, self.inbox = settings, connection, services, inbox
        self.raw = psycopg2.connect(database)

    def fresh(self, count: int) -> None:
        """`count` pending transactions with a result each, and statistics as autovacuum would have made them."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "TRUNCATE transactions_transaction, transactions_historyentry, webhooks_inboxmessage CASCADE"
            )
            cursor.execute(FILL, [self.client_id, count, body_of("THE-ID").decode()])
            cursor.execute("VACUUM ANALYZE transactions_transaction")
            cursor.execute("VACUUM ANALYZE webhooks_inboxmessage")

    def rate(self, drain: Callable[[], int], count: int) -> float:
        """Applied a second; checked by what the tables say after it."""
        self.fresh(count)
        started = time.perf_counter()
        done = drain()
        seconds = time.perf_counter() - started
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT (SELECT count(*) FROM transactions_transaction WHERE status = 'succeeded'), "
                "(SELECT count(*) FROM webhooks_inboxmessage WHERE state = 'applied'), "
                "(SELECT count(*) FROM transactions_historyentry)"
            )
            found = cursor.fetchone()
        if (done, found) != (count, (count, count, 2 * count)):
            raise SystemExit(f"{done} done, {found} found of {count}")
        return count / seconds

    def ours(self) -> int:
        return self.services.apply_due(budget_seconds=600)["applied"]

    def by_hand(self) -> int:
        """No state machine, no schema, no fallback: as few statements as will do, in transactions of the same size."""
        claim = self.inbox._CLAIM_SQL["postgresql"]
        done = 0
        with self.raw.cursor() as cursor:
            while True:
                cursor.execute(
                    claim, {"limit": self.settings.INBOX_BATCH_SIZE, "token": str(uuid.uuid4()), "lease": 30}
                )
                rows = cursor.fetchall()
                self.raw.commit()
                if not rows:
                    return done
                for start in range(0, len(rows), self.services.TOGETHER):
                    cursor.execute("SET LOCAL lock_timeout = '250ms'")
                    for row in rows[start : start + self.services.TOGETHER]:
                        self._apply(cursor, row)
                        done += 1
                    self.raw.commit()

    @staticmethod
    def _apply(cursor: object, row: tuple) -> None:
        message = json.loads(bytes(row[2]))
        data = message["data"]
        cursor.execute(LOCK, [data["transaction_id"]])
        cursor.fetchone()
        values = {"id": data["transaction_id"], "data": json.dumps(data["processed_data"])}
        cursor.execute(APPLY, {**values, "webhook_id": row[1], "type": message["type"], "door": row[3]})
        cursor.execute(
            "UPDATE webhooks_inboxmessage SET state = 'applied', reason = '', lease_token = NULL, "
            "applied_at = statement_timestamp(), transaction_id = %s, type = %s WHERE id = %s AND lease_token IS NOT NULL",
            [data["transaction_id"], message["type"], row[0]],
        )


def worker(database: str, rounds: int, count: int, profile: bool) -> None:
    """Applied a second by one process."""
    bench = Worker(database)
    bench.rate(bench.ours, 500)
    if profile:
        profiler = cProfile.Profile()
        bench.rate(lambda: profiler.runcall(bench.ours), count)
        profiler.print_stats("tottime")
        return
    rates: dict[str, list[float]] = {"ours": [], "other": []}
    contestants = {"ours": bench.ours, "other": bench.by_hand}
    for number in range(rounds):
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            rates[name].append(bench.rate(contestants[name], count))
    report("webhook-apply-vs-psycopg2", rates["ours"], rates["other"], "results/s", ">= 0.5")
    bench.raw.close()
    bench.connection.close()


def report(name: str, ours: list[float], other: list[float], unit: str, want: str) -> None:
    """A line for people and, at the end, one for machines. Ratios round by round; the spread is theirs."""
    ratios = [mine / theirs for mine, theirs in zip(ours, other, strict=True)]
    low, high, ratio = min(ratios), max(ratios), statistics.median(ratios)
    print(f"{name:<28}{spread(ours):>20}{spread(other):>20} {unit}  {ratio:.2f} [{low:.2f}-{high:.2f}] wanted {want}")
    figures = {"ours": round(statistics.median(ours), 1), "other": round(statistics.median(other), 1)}
    LINES.append(json.dumps({"bench": name, **figures, "ratio": round(ratio, 2), "unit": unit}))


LINES: list[str] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a receiver's round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="rounds of one second; for a first look")
    parser.add_argument("--count", type=int, default=3000, help="results in a worker's round")
    parser.add_argument("--only", choices=["receiver", "worker"])
    parser.add_argument("--profile", action="store_true", help="where the worker's time goes")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds = 1.0
    with private_database() as database, tempfile.TemporaryDirectory() as state:
        System("ours", database, state).manage("migrate", "--verbosity=0")
        print(f"{'':<28}{'ours':>20}{'other':>20}  (medians [spread]; load {os.getloadavg()[0]:.1f})", flush=True)
        if chosen.only in (None, "receiver"):
            receiver(database, chosen.rounds, chosen.seconds)
        if chosen.only in (None, "worker"):
            worker(database, chosen.rounds, chosen.count, chosen.profile)
        print(*LINES, sep="\n")


if __name__ == "__main__":
    main()
