"""The lights of the dashboard: each turns at its number, says what to do, and stays cheap."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from outbox.clock import database_now
from outbox.models import ChannelState, OutboxMessage
from producer import condition
from tests.outbox.conftest import add_event
from transactions.models import Transaction
from webhooks.models import InboxMessage
from webhooks.services import discard, reapply

pytestmark = pytest.mark.django_db


def lights():
    return {light.id: light for light in condition.current()}


def result(state, number=1, **fields):
    values = {"sha256": b"x", "body": b"{}", "key_id": "k", "sent_at": 0, "door": "webhook", "state": state}
    return InboxMessage.objects.create(webhook_id=f"m{number}", **{**values, **fields})


def test_all_is_green_on_an_empty_system_and_each_light_explains_itself():
    found = condition.current()
    assert condition.worst(found) == "ok", [light for light in found if light.level != "ok"]
    assert len({light.id for light in found}) == len(found)
    assert all(light.title and light.docs_anchor for light in found)


def test_the_broker_light_is_red_while_its_channel_fails_and_says_why():
    ChannelState.objects.create(name="broker", failing_since=database_now() - timedelta(seconds=9), reason="disk alarm")
    light = lights()["broker"]
    assert light.level == "bad" and "disk alarm" in light.meaning and light.value == "9 s" and light.remedy


def test_the_fallback_light_is_amber_while_it_fails_and_red_when_the_consumer_said_gone():
    state = ChannelState.objects.create(name="webhook", failing_since=database_now() - timedelta(seconds=9))
    assert lights()["fallback"].level == "warn"
    state.disabled = True
    state.save()
    assert lights()["fallback"].level == "bad" and "enable" in lights()["fallback"].remedy


def test_waiting_events_turn_amber_then_red_with_their_age(settings):
    add_event()
    settings.OUTBOX_READY_MAX_AGE_SECONDS = 120
    assert lights()["events_waiting"].level == "ok"
    settings.OUTBOX_READY_MAX_AGE_SECONDS = -1
    assert lights()["events_waiting"].level == "bad" and lights()["events_waiting"].value.startswith("1, ")


def test_dead_events_are_red_until_requeued_or_discarded():
    event_id = add_event(state="dead")
    assert lights()["events_dead"].level == "bad"
    OutboxMessage.objects.filter(id=event_id).update(discarded=True)
    assert lights()["events_dead"].level == "ok"


@pytest.mark.parametrize("state", ["dead", "quarantined", "conflict"])
def test_results_that_need_somebody_are_red_until_discarded(state):
    row = result(state)
    assert lights()["results_stuck"].level == "bad"
    assert discard([row.id], "test data") == 1
    assert discard([row.id], "again") == 0
    assert lights()["results_stuck"].level == "ok"
    assert InboxMessage.objects.get().state == ("conflict" if state == "conflict" else "dead")
    assert reapply([row.id]) == 1 and not InboxMessage.objects.get().discarded


def test_results_that_wait_too_long_are_red(settings):
    settings.OUTBOX_READY_MAX_AGE_SECONDS = -1
    result("received")
    assert lights()["results_waiting"].level == "bad"


def test_overdue_transactions_are_amber(api):
    api.create()
    assert lights()["overdue"].level == "ok"
    Transaction.objects.update(overdue=True)
    assert lights()["overdue"].level == "warn" and lights()["overdue"].value == "1"
    OutboxMessage.objects.all().delete()


def test_a_database_that_is_away_is_one_red_light_and_no_exception(monkeypatch):
    def away():
        raise OperationalError("gone")

    monkeypatch.setattr(condition, "LOOKS", [away])
    (light,) = condition.current()
    assert light.id == "database" and light.level == "bad"


def test_the_price_is_bounded_whatever_waits(django_assert_max_num_queries):
    for number in range(1005):
        add_event(key=str(number), state="dead", due_at=Now())
    with django_assert_max_num_queries(20):
        assert lights()["events_dead"].value == "1000+"
