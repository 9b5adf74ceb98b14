"""A million transactions of one client: what page 1 and page 10,000 of the list cost, with every filter.

Private PostgreSQL database, created and dropped. In process through Django's test client, so that no server's noise is in it.
"""

import argparse
import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
ADMIN_URL = os.environ.get("DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/test"
NAME = f"bench_lists_{os.getpid()}"
PAGE, ROUNDS = 25, 15
# Every row a microsecond-exact UUIDv7 of its own; one in four of another status, account and currency.
FILL = """
    INSERT INTO transactions_transaction (id, client_id, external_id, account_number, amount, currency, direction,
        transaction_date, description, metadata, status, version, overdue, resends, created_at, updated_at, processed_at)
    SELECT encode(substring(int8send((ticks / 4096) << 16) from 1 for 6) || int2send((28672 + ticks %% 4096)::int::int2)
                  || int8send(-9223372036854775808 + n), 'hex')::uuid,
           %(client)s, 'ext-' || n, 'ACC-' || n %% 4, 1 + n %% 1000, (ARRAY['EUR','PLN','CHF','KWD'])[1 + n %% 4],
           'debit', at, 'Invoice ' || n, '{}',
           (ARRAY['pending','succeeded','failed','succeeded'])[1 + n %% 4], 1, false, 0, at, at, at
      FROM (SELECT n, to_timestamp(%(start)s + n * 0.001) AS at,
                   ((%(start)s * 1000)::bigint + n) * 4096 AS ticks
              FROM generate_series(1, %(rows)s) AS n) AS made
"""


def sql(url, statement, parameters=None):
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        connection.cursor().execute(statement, parameters)
    finally:
        connection.close()


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--quick", action="store_true", help="100,000 rows and page 1,000")
    chosen = options.parse_args()
    rows = 100_000 if chosen.quick else chosen.rows
    sql(ADMIN_URL, f'CREATE DATABASE "{NAME}"')
    try:
        run(rows)
    finally:
        sql(ADMIN_URL, f'DROP DATABASE "{NAME}" WITH (FORCE)')


def run(rows):
    url = urlunsplit(urlsplit(ADMIN_URL)._replace(path=f"/{NAME}"))
    os.environ |= {
        "DATABASE_URL": url,
        "DEBUG": "true",
        "ALLOWED_HOSTS": "testserver",
        "API_RATE_PER_SECOND": "100000",
        "API_RATE_BURST": "100000",
        "LOG_LEVEL": "ERROR",
        "DJANGO_SETTINGS_MODULE": "producer.settings",
    }
    import django  # noqa: PLC0415 - after the environment is set

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    from transactions.clients import create_client  # noqa: PLC0415
    from transactions.models import ApiClient, Transaction, owned_by  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    key = create_client("bench")
    client_id = ApiClient.objects.get().id
    start = datetime(2026, 1, 1, tzinfo=UTC)
    print(f"filling {rows:,} rows …", flush=True)
    sql(url, FILL, {"client": client_id, "start": start.timestamp(), "rows": rows})
    sql(url, "ANALYZE")
    client = Client(headers={"Authorization": f"Bearer {key}"})
    middle = (start + timedelta(seconds=rows * 0.0005)).isoformat().replace("+00:00", "Z")
    filters = {
        "none": {},
        "status": {"status": "succeeded"},
        "account_number": {"account_number": "ACC-1"},
        "currency": {"currency": "PLN"},
        "created_gte": {"created_gte": start.isoformat().replace("+00:00", "Z")},
        "created_lt": {"created_lt": middle},
        "updated_gte": {"updated_gte": start.isoformat().replace("+00:00", "Z")},
        "external_id": {"external_id": "ext-5"},
        "idempotency_key": {"idempotency_key": "none"},
    }
    print(f"{'filter':<16}{'page 1 ms':>12}{'deep page':>12}{'ms':>9}{'ratio':>8}")
    worst = 0.0
    for name, query in filters.items():
        first = timed(client, {**query, "limit": PAGE})
        if name in {"external_id", "idempotency_key"}:
            print(f"{name:<16}{first * 1000:>12.2f}{'(one page)':>12}")
            continue
        matching = owned_by(client_id)
        for field, value in query.items():
            lookup = {
                "created_gte": "created_at__gte",
                "created_lt": "created_at__lt",
                "updated_gte": "updated_at__gte",
            }
            matching = matching.filter(**{lookup.get(field, field): value})
        page = min(10_000, matching.count() // PAGE - 2)
        last = matching.order_by("-id").values_list("id", flat=True)[page * PAGE]
        deep = timed(client, {**query, "limit": PAGE, "cursor": cursor_at(client, query, last)})
        ratio = deep / first
        worst = max(worst, ratio)
        print(f"{name:<16}{first * 1000:>12.2f}{page:>12,}{deep * 1000:>9.2f}{ratio:>8.2f}", flush=True)
        line = {"bench": f"list deep page, {name}", "ours": round(deep * 1000, 3), "other": round(first * 1000, 3)}
        print(json.dumps({**line, "ratio": round(ratio, 2), "unit": "ms (other: page 1)"}))
    print(f"{Transaction.objects.count():,} rows; worst ratio {worst:.2f} (target 2.00)")


def cursor_at(client, query, last):
    """The cursor that the page before would have handed out."""

    from transactions import pagination  # noqa: PLC0415
    from transactions.models import ApiClient  # noqa: PLC0415

    given = {name: str(value) for name, value in query.items()}
    return pagination._cursor(last, pagination._scope(ApiClient.objects.get().id, given))


def timed(client, query):
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        answer = client.get("/api/v1/transactions", query)
        times.append(time.perf_counter() - started)
        assert answer.status_code == 200, answer.content
    return statistics.median(times)


if __name__ == "__main__":
    main()
