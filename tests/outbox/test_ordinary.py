"""The ordinary pass on PostgreSQL: taken when nothing has to be decided, left alone otherwise, by indexes only."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from outbox import ordinary
from outbox.claim import claim, settle
from outbox.models import OutboxMessage

pytestmark = [pytest.mark.postgres, pytest.mark.django_db]


def take(limit=100):
    token = uuid.uuid4()
    return token, ordinary.claim(limit=limit, lease_seconds=30, relay="me", after=None, token=token)


def test_fresh_events_are_taken_as_they_came_due(add, look):
    second = add("b", due_at=Now() - timedelta(seconds=1))
    first = add("a", due_at=Now() - timedelta(seconds=2))
    token, rows = take()
    assert [row.id for row in rows] == [first, second]
    assert [row.attempts for row in rows] == [0, 0], "as they were before"
    row = look(first)
    assert (row.lease_token, row.claimed_by, row.attempts) == (token, "me", 1)
    assert row.due_at - rows[0].due_at > timedelta(seconds=30)


def test_nothing_due_is_an_empty_batch_and_no_decision(add):
    add(due_at=Now() + timedelta(seconds=10))
    assert take()[1] == []


@pytest.mark.parametrize(
    "out_of_the_ordinary",
    [
        {"attempts": 1, "error": "refused"},
        {"attempts": 1, "lease_token": uuid.UUID(int=1)},
    ],
    ids=["tried before", "left by a dead relay"],
)
def test_one_event_out_of_the_ordinary_leaves_all_to_the_decision(add, look, out_of_the_ordinary):
    fresh = add("a")
    other = add("b", **out_of_the_ordinary)
    before = list(OutboxMessage.objects.order_by("id").values())
    assert take()[1] is None
    assert list(OutboxMessage.objects.order_by("id").values()) == before
    assert {event.id for event in claim(limit=9, lease_seconds=30, relay="me").events} <= {fresh, other}


@pytest.mark.parametrize("blocks", [False, True])
def test_a_dead_earlier_event_matters_as_the_setting_says(add, settings, blocks):
    settings.OUTBOX_DEAD_BLOCKS_KEY = blocks
    add("a", 1, state="dead")
    add("a", 2)
    assert (take()[1] is None) is blocks


def test_an_earlier_event_in_other_hands_leaves_all_to_the_decision(add):
    add("a", 1, attempts=1, lease_token=uuid.uuid4(), due_at=Now() + timedelta(seconds=30))
    add("a", 2)
    add("b", 1)
    assert take()[1] is None


def test_a_settlement_counts_only_what_still_carries_its_token(add, look):
    mine, passed_on = add("a"), add("b")
    token, _ = take()
    OutboxMessage.objects.filter(id=passed_on).update(lease_token=uuid.uuid4())
    assert ordinary.settle([mine, passed_on], ["a", "b"], token=token, channel="broker", confirm_ms=1) == 1
    assert (look(mine).state, look(passed_on).state) == ("published", "pending")


def test_plans_kept_from_an_empty_table_read_no_table_when_it_has_grown(add):
    def one_pass():
        batch = claim(limit=5, lease_seconds=30, relay="me")
        settle(batch, confirmed={event.id for event in batch.events}, refused={}, channel="broker", confirm_ms=1)

    # PostgreSQL makes a plan for good at the sixth call.
    for number in range(8):
        add(f"k{number}")
        one_pass()
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(seq_scan) FROM pg_stat_xact_user_tables WHERE relname LIKE 'outbox\\_%'")
        before = cursor.fetchone()
        OutboxMessage.objects.bulk_create(
            OutboxMessage(topic="transactions", type="t", key=f"n{n}", sequence=1, body="{}") for n in range(50)
        )
        one_pass()
        cursor.execute("SELECT sum(seq_scan) FROM pg_stat_xact_user_tables WHERE relname LIKE 'outbox\\_%'")
        assert cursor.fetchone() == before
    assert OutboxMessage.objects.filter(state="published").count() == 13
