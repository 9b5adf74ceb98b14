"""The lights of the dashboard: each turns at its number, says what to do, and stays cheap."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from outbox import heartbeat
from outbox.clock import database_now
from outbox.heartbeat import Heart
from outbox.models import ChannelState, OutboxMessage, ProcessState, QueueState
from producer import condition
from tests.outbox.conftest import add_event
from transactions.models import Transaction
from webhooks import refusals
from webhooks.models import InboxMessage, Refusal
from webhooks.services import discard, reapply

pytestmark = pytest.mark.django_db


def lights():
    return {light.id: light for light in condition.current()}


@pytest.fixture(autouse=True)
def everybody_lives(db):
    # What other tests' refused requests left in this process.
    refusals._waiting.clear()
    for kind in ("beat", "worker", "relay"):
        ProcessState.objects.create(name=f"{kind}@host:1", kind=kind)


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
    assert light.level == "bad" and "disk alarm" in light.meaning and light.value == "failing for 9 s" and light.remedy


def test_the_fallback_light_is_amber_while_it_fails_and_red_when_the_consumer_said_gone():
    state = ChannelState.objects.create(name="webhook", failing_since=database_now() - timedelta(seconds=9))
    assert (lights()["fallback"].level, lights()["fallback"].docs_anchor) == ("warn", "fallbackaway")
    state.disabled = True
    state.save()
    assert lights()["fallback"].level == "bad" and "enable" in lights()["fallback"].remedy
    assert lights()["fallback"].docs_anchor == "fallbackdisabled"


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
    def away(scene):
        raise OperationalError("gone")

    monkeypatch.setattr(condition, "LOOKS", [away])
    (light,) = condition.current()
    assert (light.id, light.level, light.docs_anchor) == ("database", "bad", "databaseaway")


def test_the_price_is_bounded_whatever_waits(django_assert_max_num_queries):
    for number in range(1005):
        add_event(key=str(number), state="dead", due_at=Now())
    with django_assert_max_num_queries(10):
        assert lights()["events_dead"].value == "1000+"


@pytest.mark.parametrize(("kind", "level"), [("beat", "bad"), ("worker", "bad"), ("relay", "warn")])
def test_a_process_that_went_silent_turns_its_light_and_says_for_how_long(kind, level):
    ProcessState.objects.filter(kind=kind).update(seen_at=database_now() - timedelta(seconds=11))
    assert lights()[kind].level == level and lights()[kind].value == "silent for 11 s"
    ProcessState.objects.create(name=f"{kind}@host:2", kind=kind)
    assert lights()[kind].level == "ok" and lights()[kind].value == "1 alive"


def test_a_relay_that_died_is_missed_until_one_lives_or_stops_as_told():
    ProcessState.objects.filter(kind="relay").update(seen_at=database_now() - timedelta(hours=30))
    heartbeat.forget()
    assert lights()["relay"].level == "warn" and lights()["relay"].value == "silent for 108000 s"
    heart = Heart("relay")
    heart.beat()
    assert lights()["relay"].level == "ok" and lights()["relay"].value == "1 alive"
    heart.stop()
    assert lights()["relay"].level == "ok" and lights()["relay"].value == "none"


def test_a_system_that_never_had_a_beat_or_a_worker_is_not_green_but_a_standing_relay_is_a_choice():
    ProcessState.objects.all().delete()
    assert [lights()[kind].level for kind in ("beat", "worker", "relay")] == ["bad", "bad", "ok"]


def test_workers_of_the_second_door_do_not_hide_that_nobody_applies_results():
    ProcessState.objects.filter(kind="worker").update(seen_at=database_now() - timedelta(seconds=11))
    ProcessState.objects.create(name="results-worker@host:2", kind="results-worker")
    assert lights()["worker"].level == "bad" and lights()["worker"].value == "silent for 11 s"


def test_workers_of_the_second_door_are_missed_when_they_died_and_only_where_there_was_one():
    assert (lights()["results_worker"].level, lights()["results_worker"].value) == ("ok", "none")
    heart = Heart("results-worker")
    heart.beat()
    assert (lights()["results_worker"].level, lights()["results_worker"].value) == ("ok", "1 alive")
    ProcessState.objects.filter(kind="results-worker").update(seen_at=database_now() - timedelta(hours=30))
    heartbeat.forget()
    assert (lights()["results_worker"].level, lights()["results_worker"].docs_anchor) == ("warn", "resultsworkersdead")
    assert lights()["worker"].level == "ok"
    heart.stop()
    assert lights()["results_worker"].level == "ok"


def test_workers_that_are_cut_off_are_amber():
    ProcessState.objects.filter(kind="worker").update(note="takes no messages: busy, or cut off from the broker")
    assert lights()["worker"].level == "warn" and "cut off" in lights()["worker"].meaning


def test_a_beat_that_cannot_reach_the_broker_turns_it_red_before_any_event_was_tried():
    ProcessState.objects.filter(kind="beat").update(note="the broker takes no ticks")
    assert lights()["broker"].level == "bad" and "takes no ticks" in lights()["broker"].meaning


@pytest.mark.parametrize(("offset", "level"), [(0.5, "ok"), (-6, "warn"), (400, "bad")])
def test_a_clock_that_is_off_is_named_with_its_process(offset, level):
    ProcessState.objects.filter(kind="worker").update(clock_offset_seconds=offset)
    light = lights()["clock"]
    assert light.level == level and ("worker@host:1" in light.meaning or level == "ok")


@pytest.mark.parametrize(("seconds", "level"), [(0.01, "ok"), (0.3, "warn"), (2, "bad")])
def test_a_database_that_is_slow_to_anybody_is_shown(seconds, level):
    ProcessState.objects.filter(kind="relay").update(database_seconds=seconds)
    assert lights()["database"].level == level


def test_the_queues_tell_of_a_lost_queue_a_missing_consumer_and_dead_letters():
    QueueState.objects.create(name="consumer.transactions.v1", messages=3, consumers=2)
    assert lights()["consumer"].level == lights()["queues"].level == lights()["dead_letters"].level == "ok"
    QueueState.objects.update(consumers=0, remade_at=database_now())
    QueueState.objects.create(name="consumer.transactions.v1.dead", messages=1)
    found = lights()
    assert (found["consumer"].level, found["queues"].level, found["dead_letters"].level) == ("bad", "warn", "bad")
    assert found["consumer"].value == "0 read consumer.transactions.v1, 3 wait"


def test_refused_results_are_red_when_none_is_accepted_and_amber_beside_good_ones_and_then_over():
    refusals.note("signature-wrong", "webhook")
    refusals.note("signature-wrong", "webhook")
    refusals.flush()
    assert lights()["results_refused"].level == "bad" and lights()["results_refused"].value == "signature-wrong (2)"
    result("applied")
    assert lights()["results_refused"].level == "warn"
    refusals.note("signature-wrong", "webhook")
    refusals.flush()
    assert Refusal.objects.get().count == 3
    Refusal.objects.update(last_at=database_now() - timedelta(minutes=2))
    assert lights()["results_refused"].level == "ok"


def test_every_light_that_can_turn_has_its_words():
    for light in condition.current():
        assert light.meaning and light.remedy, light.id
