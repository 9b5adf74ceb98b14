"""Probes: what is wrong is said, and nothing else turns them red."""

from datetime import timedelta

import pytest
from django.db import OperationalError

from outbox.clock import database_now
from outbox.models import ChannelState, OutboxMessage
from producer import condition
from producer.turned import Turned

pytestmark = pytest.mark.django_db


def test_livez_needs_nothing(client, monkeypatch):
    assert client.get("/livez").status_code == 200


def test_readyz_is_green_with_each_check_named(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200, answer.content
    assert set(answer.json()["checks"]) >= {"database", "migrations", "broker", "oldest_waiting_event"}


def test_readyz_is_red_when_the_oldest_event_is_too_old(client, api, settings):
    settings.OUTBOX_READY_MAX_AGE_SECONDS = -1
    assert api.create().status_code == 201
    answer = client.get("/readyz")
    assert answer.status_code == 503 and answer["Retry-After"]
    assert "1 events wait" in answer.json()["checks"]["oldest_waiting_event"]
    OutboxMessage.objects.all().delete()


def test_readyz_is_red_while_the_broker_channel_fails(client, settings):
    settings.BROKER_URL = "amqp://guest:guest@127.0.0.1:1//"
    assert "no answer" in client.get("/readyz").json()["checks"]["broker"]
    ChannelState.objects.create(name="broker", failing_since=database_now() - timedelta(seconds=5), reason="alarm")
    metrics = client.get("/metrics").content.decode()
    line = next(
        line for line in metrics.splitlines() if line.startswith('outbox_channel_failing_seconds{channel="broker"}')
    )
    assert float(line.split()[-1]) >= 5


def test_readyz_is_red_when_the_database_is_away(client, monkeypatch, caplog):
    caplog.set_level("WARNING", "producer.turned")

    def away(*args, **kwargs):
        raise OperationalError("gone")

    monkeypatch.setitem(__import__("producer.health", fromlist=["CHECKS"]).CHECKS, "database", away)
    monkeypatch.setattr(condition, "turned", Turned())
    answer = client.get("/readyz")
    assert answer.status_code == 503 and answer.json()["checks"]["database"] == "failed: OperationalError"
    # Not asked again, and the broker is not said to be away.
    others = {name: said for name, said in answer.json()["checks"].items() if name != "database"}
    assert others.pop("broker").startswith("ok")
    assert set(others.values()) == {"unknown: the database does not answer"}
    # Said in words, and in the log; the database is not asked once more for the other lights.
    assert list(answer.json()["warnings"]) == ["database"]
    assert [record.message for record in caplog.records if record.name == "producer.turned"] == ["Database away: red"]


def test_the_probes_need_no_key_and_no_trailing_slash(client):
    for path in ("/livez", "/readyz", "/metrics", "/api/v1/schema", "/api/v1/docs"):
        assert client.get(path).status_code == 200, path
        assert client.get(path + "/").status_code == 404, path
