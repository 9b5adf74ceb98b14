"""System checks that ask the database."""

import pytest
from django.db import connection

from producer import checks

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


def test_a_role_without_deadlines_as_behind_a_pool_is_told():
    assert checks.deadlines_hold(None, databases=["default"]) == []
    with connection.cursor() as cursor:
        # Gone with the test's transaction.
        cursor.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
    (told,) = checks.deadlines_hold(None, databases=["default"])
    assert told.id == "producer.W005" and "lock_timeout, statement_timeout for" in told.msg


@pytest.mark.parametrize(
    ("broker", "open_ways"),
    [
        ("amqp://u:p@mq.example//", ["BROKER_URL"]),
        ("amqps://u:p@mq-1.example//;amqp://u:p@mq-2.example//", ["BROKER_URL"]),
        ("amqps://u:p@mq-1.example//;amqps://u:p@mq-2.example//", []),
        ("amqp://u:p@127.0.0.1//", []),
    ],
)
def test_what_leaves_the_machine_in_the_clear_to_the_broker_is_told(settings, broker, open_ways):
    settings.DATABASE_URL, settings.BROKER_URL, settings.TASKS_BROKER_URL = (
        "postgres://a@127.0.0.1/b",
        broker,
        "amqp://127.0.0.1//",
    )
    told = checks.encrypted_on_the_way(None)
    assert [(message.id, message.msg.split()[4]) for message in told] == [("producer.W006", name) for name in open_ways]


@pytest.mark.parametrize(
    ("url", "networks", "told"),
    [
        ("https://169.254.169.254/", [], 1),
        ("http://consumer.example/events", [], 1),
        ("http://10.1.2.3:8001/events", ["10.1.0.0/16"], 0),
        ("https://consumer.example/events", [], 0),
        ("", [], 0),
    ],
)
def test_a_fallback_that_the_guard_refuses_is_told_before_the_outage(settings, url, networks, told):
    settings.CONSUMER_WEBHOOK_URL, settings.WEBHOOK_ALLOWED_NETWORKS = url, networks
    assert [message.id for message in checks.fallback_may_go_there(None)] == ["producer.W007"] * told


def test_where_the_results_worker_reads_is_looked_at_too(settings):
    settings.DATABASE_URL = "postgres://a@127.0.0.1/b"
    settings.BROKER_URL = settings.TASKS_BROKER_URL = "amqps://a:b@mq.example//"
    settings.READ_BROKER_URL = settings.BROKER_URL
    assert checks.encrypted_on_the_way(None) == []
    settings.READ_BROKER_URL = "amqp://a:b@mq.example//"
    (told,) = checks.encrypted_on_the_way(None)
    assert told.msg.startswith("What is sent by READ_BROKER_URL")


@pytest.mark.parametrize(
    ("mode", "of_libpq", "told"),
    [
        (None, None, 1),
        ("require", None, 1),
        ("verify-full", None, 0),
        (None, "verify-full", 0),
        ("require", "verify-full", 1),
    ],
)
def test_a_database_elsewhere_that_anybody_could_stand_in_for_is_told(settings, monkeypatch, mode, of_libpq, told):
    if of_libpq:
        monkeypatch.setenv("PGSSLMODE", of_libpq)
    settings.DATABASE_URL, settings.BROKER_URL, settings.TASKS_BROKER_URL = (
        "postgres://a@db.example/b",
        "amqp://127.0.0.1//",
        "",
    )
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"sslmode": mode} if mode else {})
    assert len(checks.encrypted_on_the_way(None)) == told
