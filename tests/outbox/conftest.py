"""Rows for the tests of the outbox, and time that passes without waiting."""

import threading
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from outbox import publisher, services, topology
from outbox.ids import uuid7
from outbox.models import OutboxMessage

TYPE = "transaction.created"


def add_event(key="a", sequence=1, *, type=TYPE, topic="transactions", body='{"n":1}', **fields):
    row = OutboxMessage(id=uuid7(), topic=topic, type=type, key=key, sequence=sequence, body=body, **fields)
    row.save(force_insert=True)
    return row.id


@pytest.fixture(autouse=True)
def nobody_wakes(monkeypatch):
    """The wake-up's thread keeps a connection, which would outlive the test's database."""
    monkeypatch.setattr(services, "wakeup", SimpleNamespace(poke=lambda: None, take=lambda: False))


@pytest.fixture
def add(db):
    return add_event


@pytest.fixture
def pass_time():
    def pass_time(seconds):
        OutboxMessage.objects.filter(state="pending").update(due_at=F("due_at") - timedelta(seconds=seconds))

    return pass_time


@pytest.fixture
def expire_leases():
    def expire_leases():
        OutboxMessage.objects.filter(lease_token__isnull=False).update(due_at=Now() - timedelta(seconds=1))

    return expire_leases


@pytest.fixture
def look():
    """The current row."""
    return lambda event_id: OutboxMessage.objects.get(id=event_id)


@pytest.fixture
def fake(db, settings):
    settings.OUTBOX_PUBLISHERS = ["tests.outbox.fakes.FakePublisher"]
    publisher.publishers.cache_clear()
    yield publisher.publishers()[0]
    publisher.publishers.cache_clear()


@pytest.fixture
def held():
    """Runs a function in a transaction of another connection and keeps that open while the block runs."""

    @contextmanager
    def held(work):
        ready, finish, result = threading.Event(), threading.Event(), {}

        def run():
            try:
                with transaction.atomic():
                    result["value"] = work()
                    ready.set()
                    assert finish.wait(20)
            except Exception as error:
                result["error"] = error
            finally:
                ready.set()
                connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(20)
        try:
            yield result.get("value")
        finally:
            finish.set()
            thread.join(20)
        assert "error" not in result, result

    return held


@pytest.fixture
def amqp_routes(settings):
    """A route with names of its own at the real broker, removed afterwards."""
    name = f"test.{uuid7()}"
    route = {**settings.OUTBOX_ROUTES["transactions"], "exchange": name, "queue": f"{name}.v1"}
    settings.OUTBOX_ROUTES = {"transactions": route}
    yield settings.OUTBOX_ROUTES
    with topology.connect() as connection, connection.channel() as channel:
        for queue in (route["queue"], f"{route['queue']}.dead"):
            channel.queue_delete(queue)
        for exchange in (name, f"{name}.dead"):
            channel.exchange_delete(exchange)
