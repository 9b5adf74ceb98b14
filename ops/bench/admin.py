"""Each admin page at a million rows beside the same page at a thousand: lists, filters, searches, objects, deep pages.

Private PostgreSQL databases, created and dropped. Both are filled alike and asked in turns, in process through Django's test
client, as an operator who is no superuser. The dashboard's figures are computed anew each time; in life they are kept for
seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
ADMIN_URL = os.environ.get("DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/test"
SMALL, WANTED = 1_000, 1.5
# Statements of any page, the log-in's among them; of the landing page's fragments too, with nothing kept.
QUERIES = 10
# What operators look for: more than a page of it on either side, so that both show as many rows; the newest are not among
# them.
RARE_ROWS = 200
RARE = "n %% %(every)s = 3 AND n < %(rows)s * 0.9"
# Both sides over the same time, ending now: the large one had a thousand times the traffic.
SPAN_SECONDS = 1000
# A UUIDv7 per n.
ID = """encode(substring(int8send(((%(start)s + n * %(step)s) * 1000)::bigint << 16) from 1 for 6) || int2send(28672::int2)
        || int8send(-9223372036854775808 + n + {offset}), 'hex')::uuid"""
TXN, EVENT = ID.format(offset=0), ID.format(offset=10_000_000_000)
AT = "to_timestamp(%(start)s + n * %(step)s)"
FILL = [
    f"""INSERT INTO transactions_transaction (id, client_id, external_id, account_number, amount, currency, direction,
        transaction_date, description, metadata, status, version, overdue, resends, created_at, updated_at, processed_at)
        SELECT {TXN}, %(first_client)s + n %% %(clients)s, 'ext-' || n, 'ACC-' || n %% 10, 1 + n %% 1000, 'EUR', 'debit', {AT},
               'Invoice ' || n, '{{}}', CASE WHEN {RARE} THEN 'pending' ELSE 'succeeded' END, 1, {RARE}, 0, {AT}, {AT}, {AT}
          FROM generate_series(1, %(rows)s) AS n""",
    f"""INSERT INTO transactions_historyentry (transaction_id, kind, at, version, status, "by", webhook_id, type, state, door)
        SELECT {TXN}, 'change', {AT}, 1, 'pending', 'client', '', '', '', '' FROM generate_series(1, %(rows)s) AS n""",
    f"""INSERT INTO outbox_outboxmessage (id, topic, type, key, sequence, body, created_at, state, due_at, attempts, parked,
        discarded, claimed_by, error, channel, published_at, confirm_ms)
        SELECT {EVENT}, 'transactions', 'transaction.created', {TXN}::text, 1, '{{}}', {AT},
               CASE WHEN NOT ({RARE}) THEN 'published' WHEN n %% (2 * %(every)s) = 3 THEN 'dead' ELSE 'pending' END, {AT}, 1,
               false, false, '', CASE WHEN {RARE} THEN 'no route' ELSE '' END, CASE WHEN {RARE} THEN '' ELSE 'broker' END,
               CASE WHEN {RARE} THEN NULL ELSE {AT} END, 3
          FROM generate_series(1, %(rows)s) AS n""",
    f"""INSERT INTO webhooks_inboxmessage (webhook_id, sha256, body, key_id, sent_at, door, received_at, deliveries, state,
        reason, transaction_id, type, attempts, due_at, applied_at, discarded)
        SELECT 'msg_' || n, '\\x00', '{{}}', 'k', 1, 'webhook', {AT}, 1, CASE WHEN {RARE} THEN 'conflict' ELSE 'applied' END,
               CASE WHEN {RARE} THEN 'settled otherwise' ELSE '' END, {TXN}, 'transaction.succeeded', 1, {AT}, {AT}, false
          FROM generate_series(1, %(rows)s) AS n""",
    f"""INSERT INTO transactions_idempotencykey (client_id, key, fingerprint, transactions, status, headers, created_at)
        SELECT %(first_client)s + n %% %(clients)s, 'key-' || n, '\\x00', '[]', 201, '{{}}', {AT}
          FROM generate_series(1, %(rows)s) AS n""",
    f"""INSERT INTO django_celery_results_taskresult (task_id, task_name, status, content_type, content_encoding, result,
        date_created, date_done)
        SELECT 'task-' || n, 'webhooks.apply_results', CASE WHEN {RARE} THEN 'FAILURE' ELSE 'SUCCESS' END, 'application/json',
               'utf-8', '{{}}', {AT}, {AT} FROM generate_series(1, %(rows)s) AS n""",
]
CLIENTS = 5
LISTS = {
    "transactions": (
        "transactions_transaction",
        [
            "",
            "status=pending",
            "status=overdue",
            "status=succeeded",
            "age=1h",
            "age=older-1h",
            "q=ext-500",
            "q=ACC-7",
            "q=msg_500",
        ],
    ),
    "history": ("transactions_historyentry", ["", "age=older-5m", "q=ext-500"]),
    "outbox": (
        "outbox_outboxmessage",
        ["", "state=dead", "state=pending", "state=published", "error=route", "age=older-5m", "q=ext-500", "q=ACC-7"],
    ),
    "inbox": (
        "webhooks_inboxmessage",
        ["", "state=conflict", "state=applied", "reason=otherwise", "age=older-5m", "q=msg_500"],
    ),
    "idempotency": ("transactions_idempotencykey", ["", "q=key-500"]),
    "tasks": (
        "django_celery_results_taskresult",
        ["", "status=FAILURE", "status=SUCCESS", "age=older-5m", "q=task-500"],
    ),
}


def sql(url, statement, parameters=None):
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--quick", action="store_true", help="100,000 rows and 5 rounds")
    options.add_argument(
        "--cpu",
        action="store_true",
        help="compare CPU time (the page's and its database backend's) instead of wall time: for a machine that others "
        "use meanwhile; Linux, with PostgreSQL on this machine",
    )
    options.add_argument("--only", default="", help="pages whose name contains this")
    options.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.serve:
        serve(chosen.serve)
        return
    rows, rounds = (100_000, 5) if chosen.quick else (chosen.rows, chosen.rounds)
    sides = {count: Side(count) for count in (SMALL, rows)}
    try:
        for side in sides.values():
            side.start()
        compare(sides[SMALL], sides[rows], rounds, "cpu" if chosen.cpu else "took", chosen.only)
    finally:
        for side in sides.values():
            side.stop()


class Side:
    """One database and a process that opens pages of it."""

    def __init__(self, rows):
        self.rows, self.name, self.process = rows, f"bench_admin_{os.getpid()}_{rows}", None
        self.url = urlunsplit(urlsplit(ADMIN_URL)._replace(path=f"/{self.name}"))

    def start(self):
        sql(ADMIN_URL, f'CREATE DATABASE "{self.name}"')
        print(f"filling {self.rows:,} rows of each ledger …", flush=True)
        env = {
            **os.environ,
            "DATABASE_URL": self.url,
            "DEBUG": "true",
            "ADMIN_SECOND_FACTOR": "false",
            "ALLOWED_HOSTS": "testserver",
            "LOG_LEVEL": "ERROR",
            "DJANGO_SETTINGS_MODULE": "producer.settings",
        }
        command = [sys.executable, __file__, "--serve", str(self.rows)]
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().strip() == "ready"

    def open(self, path):
        self.process.stdin.write(path + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait(timeout=30)
        sql(ADMIN_URL, f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


def serve(rows):
    """Fills the database, then opens the pages that come by stdin, and says how long each took."""
    import django  # noqa: PLC0415 - after the environment is set

    django.setup()
    from django.apps import apps  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415
    from django.contrib.auth.models import Group, User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    from producer import dashboard, roles  # noqa: PLC0415
    from transactions.models import ApiClient  # noqa: PLC0415

    settings.DEBUG = False
    call_command("migrate", verbosity=0)
    made = [ApiClient.objects.create(name=f"client-{number}") for number in range(CLIENTS)]
    parameters = {
        **{"rows": rows, "every": rows // RARE_ROWS, "first_client": made[0].pk, "clients": CLIENTS},
        **{"start": time.time() - SPAN_SECONDS, "step": SPAN_SECONDS / rows},
    }
    for statement in FILL:
        sql(os.environ["DATABASE_URL"], statement, parameters)
    sql(os.environ["DATABASE_URL"], "VACUUM ANALYZE")
    roles.install(apps)
    user = User.objects.create_user("bench", is_staff=True)
    user.groups.set(Group.objects.all())
    client = Client()
    client.force_login(user)
    for snapshot in (dashboard.now, *dashboard.windows.values()):
        snapshot._seconds = 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend = cursor.fetchone()[0]
    print("ready", flush=True)
    for line in sys.stdin:
        started, used = time.perf_counter(), used_by(backend)
        page = client.get(line.strip())
        took, cpu = time.perf_counter() - started, used_by(backend) - used
        with CaptureQueriesContext(connection) as captured:
            client.get(line.strip())
        # BEGIN and COMMIT of the dashboard are captured, too.
        queries = sum(not found["sql"].startswith(("BEGIN", "COMMIT")) for found in captured)
        print(json.dumps({"status": page.status_code, "took": took, "cpu": cpu, "queries": queries}), flush=True)


def used_by(backend):
    """CPU seconds of this process and of its database backend; what the backend is still at is not in it, and small."""
    try:
        nanoseconds = int(Path(f"/proc/{backend}/schedstat").read_text().split()[0])
    except (OSError, IndexError):
        nanoseconds = 0
    return time.process_time() + nanoseconds / 1e9


def pages(side):
    """Name and address of each page; deep pages by a cursor in the middle of the ledger, as paging would reach it."""
    for name, (model, queries) in LISTS.items():
        address = f"/admin/{'/'.join(model.rsplit('_', 1))}/"
        for query in queries:
            yield f"{name} {query or 'list'}", f"{address}?{query}"
        middle = sql(side.url, f"SELECT id FROM {model} ORDER BY id LIMIT 1 OFFSET {side.rows // 2}")[0][0]
        yield f"{name} page in the middle", f"{address}?after={middle}"
        if name in {"transactions", "history", "outbox", "inbox", "tasks"}:
            yield f"{name} one object", f"{address}{middle}/change/"
    yield "overview", "/admin/"
    yield "overview lights", "/admin/dashboard/now"
    for minutes in (15, 60, 1440):
        yield f"overview of {minutes} minutes", f"/admin/dashboard/window/{minutes}"


def compare(small, large, rounds, measure, only):
    unit = "ms of CPU (other: 1,000 rows)" if measure == "cpu" else "ms (other: 1,000 rows)"
    print(f"{unit.partition(' (')[0]:<34}{'1,000 rows':>15}{f'{large.rows:,}':>15}{'ratio':>8}{'queries':>9}")
    worst = ("", 0.0)
    for (name, at_small), (_, at_large) in zip(pages(small), pages(large), strict=True):
        if only not in name:
            continue
        taken = {small: [], large: []}
        for number in range(rounds + 1):
            for side, address in ((small, at_small), (large, at_large)):
                answer = side.open(address)
                assert answer["status"] == 200, (name, answer)
                assert answer["queries"] <= QUERIES, (name, answer["queries"])
                if number:
                    taken[side].append(answer[measure] * 1000)
        ours, other = statistics.median(taken[large]), statistics.median(taken[small])
        ratio = ours / other
        worst = max(worst, (name, ratio), key=lambda entry: entry[1])
        print(f"{name:<34}{other:>15.1f}{ours:>15.1f}{ratio:>8.2f}{answer['queries']:>9}", flush=True)
        line = {"bench": f"admin {name}", "ours": round(ours, 2), "other": round(other, 2), "ratio": round(ratio, 2)}
        print(json.dumps({**line, "unit": unit}))
    print(f"worst: {worst[0]}, {worst[1]:.2f} (wanted at most {WANTED})")


if __name__ == "__main__":
    main()
