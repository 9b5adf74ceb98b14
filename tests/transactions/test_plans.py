"""With many rows of one client, every list query is answered by an index, and a deep page costs what page 1 costs."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from django.db import DEFAULT_DB_ALIAS, connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from transactions import pagination
from transactions.models import ApiClient, Transaction

pytestmark = [pytest.mark.postgres, pytest.mark.django_db]

ROWS = 150_000
# One row every 100 ms up to here. Every 7th is another client's; results take from 0 s to 49 s.
START = datetime(2026, 1, 1, tzinfo=UTC)
GENERATE = """
    INSERT INTO transactions_transaction
           (id, client_id, external_id, account_number, amount, currency, direction, transaction_date, description,
            metadata, status, version, overdue, resends, created_at, updated_at, processed_at)
    SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0') || '7000'
                || '8' || lpad(to_hex(n), 15, '0') AS uuid),
           CASE WHEN n %% 7 = 0 THEN %(other)s ELSE %(client)s END,
           CASE WHEN n %% 2 = 0 THEN 'e-' || n END, 'A' || n %% 100, 1, (ARRAY['EUR', 'USD', 'JPY', 'KWD'])[1 + n %% 4],
           'debit', at, '', '{}', (ARRAY['succeeded', 'succeeded', 'failed', 'pending'])[1 + n %% 4], 1, false, 0,
           at, at + make_interval(secs => n %% 50), at
      FROM (SELECT n, %(start)s + make_interval(secs => n / 10.0) AS at FROM generate_series(1, %(rows)s) AS n) made
"""


@pytest.fixture(scope="module")
def many(django_db_setup, django_db_blocker):
    """The client that has most of the rows; made once, since it takes seconds."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        client, other = (ApiClient.objects.create(name=name) for name in ("many", "other"))
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(GENERATE, {"client": client.id, "other": other.id, "rows": ROWS, "start": START})
        cursor.execute("ANALYZE transactions_transaction")
        yield client.id
        cursor.execute("TRUNCATE transactions_transaction CASCADE")
        ApiClient.objects.all().delete()
        connection.close()


def plans_of(client_id, query):
    """The page's rows, and how each of its queries is run."""
    with CaptureQueriesContext(connection) as captured:
        page = pagination.page_of(client_id, QueryDict(query), DEFAULT_DB_ALIAS)
    plans = []
    with connection.cursor() as cursor:
        for one in captured.captured_queries:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {one['sql'].replace('%', '%%')}", ())
            plan = cursor.fetchone()[0]
            plans.append((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
    return page.rows, plans


def cost_of(client_id, query):
    """Buffers that the page's queries touch, and how many rows it has; fails on a sequential scan."""
    rows, plans = plans_of(client_id, query)
    for plan in plans:
        for node in nodes(plan):
            on_ours = node.get("Relation Name") == "transactions_transaction"
            assert not (on_ours and node["Node Type"] == "Seq Scan"), (query, plan)
    return sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans), len(rows)


def rows_read(client_id, query):
    """How many rows the page's queries look at, and how many it has."""
    rows, plans = plans_of(client_id, query)
    scans = [node for plan in plans for node in nodes(plan) if not node.get("Plans")]
    return sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in scans), len(rows)


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def at(share):
    return START + timedelta(seconds=ROWS / 10 * share)


FILTERS = [
    "", "status=failed", "account_number=A17", "currency=KWD", "status=pending&currency=KWD",
    f"created_gte={quote(at(0.05).isoformat())}", f"created_lt={quote(at(0.97).isoformat())}",
    f"updated_gte={quote(at(0.05).isoformat())}", f"updated_gte={quote(at(0.05).isoformat())}&status=failed",
]  # fmt: skip


def test_every_filter_is_answered_by_an_index_and_a_deep_page_costs_what_page_1_costs(many):
    for query in FILTERS:
        first, rows = cost_of(many, query)
        assert rows == 25
        given = {name: QueryDict(query)[name] for name in QueryDict(query)}
        last = (
            Transaction.objects.filter(client_id=many, created_at__lt=at(0.2))
            .order_by("-id")
            .values_list("id", flat=True)[0]
        )
        deep, rows = cost_of(many, f"{query}&cursor={pagination._cursor(last, pagination._scope(many, given))}")
        assert rows == 25, query
        assert deep <= 2 * first + 20, (query, first, deep)
        assert first < 250, (query, first)


def test_a_look_up_by_external_id_touches_a_handful_of_blocks(many):
    assert cost_of(many, "external_id=e-120002")[0] < 20
    assert cost_of(many, "external_id=nothing")[0] < 20


def test_a_poll_for_recent_changes_costs_what_changed_and_not_what_there_is(many):
    buffers, rows = cost_of(many, f"limit=100&updated_gte={quote(at(0.9999).isoformat())}")
    assert rows == 100
    # 20 rows were created since, and some 480 were under way then.
    assert buffers < 2_000


def test_after_an_outage_a_page_of_changes_costs_a_page_and_not_all_that_changed(many):
    changed = Transaction.objects.filter(client_id=many, created_at__gte=at(0.8))
    assert changed.update(updated_at=at(1) + timedelta(hours=1)) > 25_000
    since = f"updated_gte={quote((at(1) + timedelta(minutes=1)).isoformat())}"
    scope = pagination._scope(many, {"updated_gte": QueryDict(since)["updated_gte"]})
    deep = changed.order_by("-id").values_list("id", flat=True)[10_000]
    for query in (since, f"{since}&cursor={pagination._cursor(deep, scope)}"):
        read, rows = rows_read(many, query)
        assert rows == 25
        assert read < 5_000, (query, read)


def test_the_rows_that_were_under_way_come_after_the_newer_ones_and_none_is_missed(many):
    since = at(0.9999)
    expected = (
        Transaction.objects.filter(client_id=many, updated_at__gte=since).order_by("-id").values_list("id", flat=True)
    )
    found, cursor = [], ""
    while True:
        page = pagination.page_of(
            many, QueryDict(f"limit=100&updated_gte={quote(since.isoformat())}{cursor}"), DEFAULT_DB_ALIAS
        )
        found += [txn.id for txn in page.rows]
        if page.next_cursor is None:
            break
        cursor = f"&cursor={page.next_cursor}"
    assert found == list(expected)
    assert len(found) > 200
