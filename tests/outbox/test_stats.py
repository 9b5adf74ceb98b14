"""The figures that health, metrics and the admin show."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from outbox import services
from outbox.clock import database_now
from outbox.ids import first_at
from outbox.models import ChannelState, OutboxMessage
from outbox.stats import backlog, outbox_stats, states
from tests.outbox.conftest import add_event

pytestmark = pytest.mark.django_db


def test_an_empty_outbox_is_all_zero():
    stats = outbox_stats()
    assert (stats.pending, stats.oldest_age_seconds, stats.dead, stats.published_last_minute) == (0, 0.0, 0, 0)


def test_each_state_is_counted_and_the_rate_is_of_the_last_minute():
    add_event("a")
    add_event("b", due_at=Now() + timedelta(hours=1))
    add_event("c", state="dead")
    add_event("d", state="published", published_at=Now())
    add_event("e", state="published", published_at=Now() - timedelta(minutes=2))
    stats = outbox_stats()
    assert (stats.pending, stats.dead, stats.published_last_minute) == (2, 1, 1)


def test_the_oldest_age_is_that_of_the_oldest_waiting_event():
    add_event()
    for state, hours in (("pending", 1), ("dead", 2)):
        old = first_at(database_now() - timedelta(hours=hours))
        OutboxMessage.objects.create(id=old, topic="t", type="x", key="k", sequence=1, body="{}", state=state)
    assert 3595 < outbox_stats().oldest_age_seconds < 3700


def test_an_event_that_is_sent_again_waits_since_then_and_not_since_it_was_made():
    """Else each sweep of overdue transactions would turn /readyz red and call somebody by the alert, and requeue in batches too."""
    old = first_at(database_now() - timedelta(hours=1))
    values = {"topic": "t", "type": "x", "key": "k", "sequence": 1, "body": "{}"}
    OutboxMessage.objects.create(id=old, state="published", published_at=Now(), **values)
    assert services.requeue([old]) == 1
    assert outbox_stats().oldest_age_seconds < 5 and backlog().oldest_age_seconds < 5
    OutboxMessage.objects.filter(id=old).update(requeued_at=Now() - timedelta(seconds=90), attempts=3, error="NO_ROUTE")
    assert 89 < outbox_stats().oldest_age_seconds < 95 and 89 < backlog().oldest_age_seconds < 95
    OutboxMessage.objects.create(id=first_at(database_now() - timedelta(seconds=600)), **values)
    assert 599 < outbox_stats().oldest_age_seconds < 605 and 599 < backlog().oldest_age_seconds < 605


@pytest.mark.postgres
def test_what_waits_is_counted_from_indexes_alone():
    """A million waiting events are a gigabyte of rows, which nobody may read for each scrape."""
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as captured:
        outbox_stats()
        (counted,) = [query["sql"] for query in captured.captured_queries if "count(*), min(" in query["sql"]]
        # A table with nothing in it is read as it is.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"EXPLAIN {counted}")
        scans = [line.split("using ")[1].split()[0] for (line,) in cursor.fetchall() if "Index Only Scan" in line]
    assert sorted(scans) == ["outbox_due", "outbox_requeued"]


def test_the_figures_cost_a_bounded_number_of_statements(django_assert_max_num_queries):
    with django_assert_max_num_queries(4):
        outbox_stats()


@pytest.mark.postgres
def test_each_figure_is_one_scan_of_a_partial_index():
    """With a backlog and a history that the planner knows of; on no engine does a figure read the whole table."""
    fill = (
        "INSERT INTO outbox_outboxmessage (id, topic, type, key, sequence, body, state, attempts, parked, claimed_by, error, channel, published_at)"
        " SELECT gen_random_uuid(), 't', 'x', 'k' || g, g, rpad('x', 600, 'x'), state, 0, false, '', '', '', at"
        " FROM generate_series(1, 2000) AS g, (VALUES ('pending', NULL), ('dead', NULL),"
        "      ('published', now() - interval '1 day')) AS kind(state, at)"
    )
    with connection.cursor() as cursor:
        cursor.execute(fill)
        cursor.execute("ANALYZE outbox_outboxmessage")
        # On so few rows the planner might read them all by choice; it must not have to.
        cursor.execute("SET LOCAL enable_seqscan = off")
    plans = []

    def explain(execute, statement, parameters, many, context):
        if "outbox_outboxmessage" in statement and not statement.startswith("EXPLAIN"):
            with context["connection"].cursor() as cursor:
                cursor.execute(f"EXPLAIN {statement}", parameters)
                plans.append("\n".join(line for (line,) in cursor.fetchall()))
        return execute(statement, parameters, many, context)

    with connection.execute_wrapper(explain):
        outbox_stats()
    assert len(plans) >= 3
    for plan in plans:
        # Partitions that are empty may be read as they are.
        full = [line for line in plan.splitlines() if "Seq Scan" in line and "archive_rest" not in line]
        assert full == [], plan
        assert "Index" in plan, plan


def test_a_channel_says_since_when_it_fails():
    ChannelState.objects.create(name="broker", failing_since=Now() - timedelta(seconds=90), reason="alarm")
    ChannelState.objects.create(name="webhook", disabled=True)
    broker, webhook = states().channels
    assert 85 < broker.failing_seconds < 120
    assert (broker.reason, webhook.failing_seconds, webhook.disabled) == ("alarm", 0.0, True)
