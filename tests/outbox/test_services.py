"""enqueue(): in the caller's transaction or not at all."""

import json
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from outbox import services
from outbox.models import OutboxMessage
from outbox.services import Event, EventTooLargeError, OutsideTransactionError, UnknownTopicError, enqueue


def event(key="a", sequence=1, **fields):
    return Event(**{"topic": "transactions", "type": "transaction.created", "data": {"n": 1}} | fields, key=key, sequence=sequence)  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_enqueue_outside_a_transaction_raises_and_writes_nothing():
    with pytest.raises(OutsideTransactionError):
        enqueue([event()])
    assert not OutboxMessage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_rollback_leaves_nothing_and_wakes_nobody(monkeypatch):
    pokes = []
    monkeypatch.setattr(services.wakeup, "poke", lambda: pokes.append(1))
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        enqueue([event()])
        raise ZeroDivisionError
    assert not OutboxMessage.objects.exists()
    assert not pokes


@pytest.mark.django_db(transaction=True)
def test_the_wake_up_comes_after_the_commit(monkeypatch):
    pokes = []
    monkeypatch.setattr(services.wakeup, "poke", lambda: pokes.append(connection.in_atomic_block))
    with transaction.atomic():
        enqueue([event()])
        assert not pokes
    assert pokes == [False]


def test_many_events_are_one_insert(db):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        ids = enqueue([event(sequence=number) for number in range(20)])
    assert [query["sql"].split()[0] for query in queries] == ["INSERT"]
    assert len(set(ids)) == OutboxMessage.objects.count() == 20


def test_no_event_is_no_statement(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert enqueue([]) == []


def test_the_row_holds_the_cloud_event_and_is_due_at_once(db):
    moment = timezone.now()
    (event_id,) = enqueue([event("k-1", 7, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")])
    row = OutboxMessage.objects.get(id=event_id)
    body = json.loads(row.body)
    assert (row.state, row.attempts, row.key, row.sequence) == ("pending", 0, "k-1", 7)
    assert abs(row.due_at - moment) < timedelta(seconds=5)
    assert (body["id"], body["subject"], body["sequence"]) == (str(event_id), "k-1", "00000000000000000007")
    assert body["traceparent"].startswith("00-")


def test_an_event_over_the_limit_is_refused_where_it_can_still_be_shortened(db, settings):
    enqueue([event(data={"text": "x" * 100})])
    settings.OUTBOX_MAX_EVENT_BYTES = len(OutboxMessage.objects.get().body)
    enqueue([event(data={"text": "x" * 100})])
    with pytest.raises(EventTooLargeError):
        enqueue([event(data={"text": "x" * 99 + "é"})])
    assert OutboxMessage.objects.count() == 2


def test_a_topic_without_a_route_is_refused(db):
    with pytest.raises(UnknownTopicError, match="OUTBOX_ROUTES"):
        enqueue([event(topic="nobody")])


@pytest.mark.parametrize("data", [{"x": float("nan")}, {"x": float("inf")}, {"x": object()}, {"x": "\ud800"}])
def test_what_is_not_json_is_refused(db, data):
    with pytest.raises((ValueError, TypeError)):
        enqueue([event(data=data)])


def test_one_bad_event_refuses_them_all(db):
    with pytest.raises(UnknownTopicError):
        enqueue([event(), event(topic="nobody")])
    assert not OutboxMessage.objects.exists()


def test_a_history_is_in_order_of_the_sequence(add):
    add("a", 2)
    published = add("a", 1, state="published", published_at=timezone.now(), channel="broker", attempts=1)
    add("b", 1)
    first, second = services.history("a")
    assert (first.id, first.channel, first.attempts, first.sequence) == (published, "broker", 1, 1)
    assert (second.state, second.channel, second.delivered_at) == ("pending", None, None)


def test_only_the_newest_event_of_a_key_is_sent_again_and_only_when_it_was_sent(add, look):
    older = add("a", 1, state="published", published_at=timezone.now())
    newer = add("a", 2, state="published", published_at=timezone.now())
    dead = add("b", 1, state="dead")
    other = add("c", 1, state="published", published_at=timezone.now())
    assert services.resend_latest(["a", "b", "c", "nobody"]) == {"a": newer, "b": None, "c": other}
    assert [look(one).state for one in (older, newer, dead, other)] == ["published", "pending", "dead", "pending"]
    assert services.resend_latest(["a", "nobody"]) == {"a": None}
    assert services.resend_latest(["b"], dead_too=True) == {"b": dead}
    assert look(dead).state == "pending"


def test_what_was_discarded_is_sent_again_by_its_own_id_alone(add, look):
    given_up = add("a", 1, state="dead", discarded=True, error="fraud: never send")
    assert services.resend_latest(["a"], dead_too=True) == {"a": None}
    assert (look(given_up).state, look(given_up).error) == ("dead", "fraud: never send")
    assert services.requeue([given_up]) == 1


@pytest.mark.parametrize("latest", [None, 2])
def test_a_history_reads_no_bodies_and_no_more_events_than_are_shown(add, latest, django_assert_num_queries):
    added = [add("a", n) for n in (1, 2, 3)]
    with django_assert_num_queries(1) as captured:
        shown = services.history("a", latest)
    assert [event.id for event in shown] == added[-(latest or 3) :]
    (query,) = captured.captured_queries
    assert "body" not in query["sql"] and ("LIMIT 2" in query["sql"]) == (latest == 2)


def test_the_verbs_ignore_what_is_not_there(db):
    assert services.requeue([uuid.uuid4()]) == services.discard([uuid.uuid4()], "x") == 0
