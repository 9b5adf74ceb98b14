"""Claim and settle: who may have what, and who may still say so."""

import time
from datetime import datetime, timedelta

import pytest
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from outbox import claim as claims
from outbox import services
from outbox.batch import Refusal
from outbox.claim import LATE_COMMIT_SECONDS, PARK_SECONDS, abandon, claim, discard, release, requeue, settle
from outbox.clock import database_now
from outbox.models import OutboxMessage
from tests.outbox.conftest import add_event

pytestmark = pytest.mark.django_db


def take(limit=100, **options):
    return claim(limit=limit, lease_seconds=30, relay="me", **options)


def names(batch):
    return [(event.key, event.sequence) for event in batch.events]


def ids(batch):
    return [event.id for event in batch.events]


def confirm(batch, only=None, refused=None):
    confirmed = ids(batch) if only is None else only
    return settle(batch, confirmed=confirmed, refused=refused or {}, channel="broker", confirm_ms=7)


def test_a_claim_leases_counts_the_attempt_and_says_who(add, look):
    event_id = add()
    batch = take()
    row = look(event_id)
    assert ids(batch) == [event_id]
    assert (row.lease_token, row.claimed_by, row.attempts, row.state) == (batch.token, "me", 1, "pending")
    assert batch.events[0].attempts == 1
    assert timedelta(seconds=29) < row.due_at - row.created_at < timedelta(seconds=40)


def test_what_is_leased_is_not_claimed_again_until_the_lease_ends(add, expire_leases):
    event_id = add()
    take()
    assert not take().events
    expire_leases()
    assert ids(take()) == [event_id]


def test_what_is_not_due_yet_is_left_alone(add):
    add(due_at=Now() + timedelta(minutes=1))
    assert not take().events


def test_what_a_clock_that_was_ahead_has_put_off_is_claimed_once_it_is_recalled(add, settings, monkeypatch):
    """The database's clock was an hour ahead; no verb of an operator moves what is pending."""
    settings.OUTBOX_LEASE_SECONDS = 30
    monkeypatch.setattr(claims, "RECALLED_TOGETHER", 1)
    first, second = (
        add("a", due_at=Now() + timedelta(hours=1)),
        add("b", due_at=Now() + timedelta(hours=2), parked=True),
    )
    add("c", due_at=Now() + timedelta(seconds=settings.OUTBOX_BACKOFF_CAP_SECONDS), attempts=9, error="NO_ROUTE")
    add("d", state="dead", due_at=Now() + timedelta(hours=1))
    assert not take().events
    assert [services.recall() for _ in range(3)] == [1, 1, 0]
    assert ids(take()) == [first, second]


class Tomorrow(datetime):
    """A process whose clock is wrong."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(days=1)


def test_the_next_attempt_is_due_by_the_databases_clock_and_not_by_the_relays(add, look, monkeypatch, settings):
    settings.OUTBOX_BACKOFF_CAP_SECONDS = 60
    monkeypatch.setattr("outbox.claim.datetime", Tomorrow)
    event_id = add()
    batch = take()
    confirm(batch, only=[], refused={event_id: Refusal("no")})
    assert look(event_id).due_at < database_now() + timedelta(seconds=60)


def test_a_settled_event_is_published_with_time_channel_and_latency(add, look):
    event_id = add()
    assert confirm(take()).published == 1
    row = look(event_id)
    assert (row.state, row.channel, row.confirm_ms, row.lease_token) == ("published", "broker", 7, None)
    assert row.published_at is not None


def test_a_key_is_handed_out_in_order_of_its_sequence_whatever_the_order_of_insertion(add):
    for sequence in (3, 1, 2):
        add("a", sequence)
    add("b", 1)
    assert [name for name in names(take()) if name[0] == "a"] == [("a", 1), ("a", 2), ("a", 3)]


def test_an_event_waits_while_an_earlier_one_of_its_key_is_in_other_hands(add, look):
    add("a", 1)
    first = take()
    later, other = add("a", 2), add("b", 1)
    second = take()
    assert ids(second) == [other]
    assert look(later).parked
    confirm(first)
    assert not look(later).parked
    assert ids(take()) == [later]


def test_a_parked_event_looks_again_by_itself_when_nobody_releases_it(add, look, pass_time):
    add("a", 1)
    first = take()
    later = add("a", 2)
    assert not take().events
    OutboxMessage.objects.filter(id=ids(first)[0]).update(state="published", published_at=Now(), lease_token=None)
    assert not take().events
    pass_time(PARK_SECONDS + 1)
    assert ids(take()) == [later]


def test_an_event_behind_one_in_backoff_is_parked_until_that_is_due(add, look):
    add("a", 1, due_at=Now() + timedelta(minutes=3), error="failed", attempts=1)
    later = add("a", 2)
    assert not take().events
    assert look(later).due_at - look(later).created_at > timedelta(minutes=2)


def test_a_retried_event_goes_alone_in_its_key_so_that_nothing_overtakes_it(add, look):
    add("a", 1, error="failed before", attempts=1)
    later = add("a", 2)
    add("b", 1)
    batch = take()
    assert sorted(names(batch)) == [("a", 1), ("b", 1)]
    confirm(batch)
    assert ids(take()) == [later]


def test_a_released_hot_key_comes_in_whole_batches(add):
    for sequence in range(1, 7):
        add("hot", sequence)
    first = take(limit=2)
    assert not take().events
    confirm(first)
    assert names(take(limit=3)) == [("hot", 3), ("hot", 4), ("hot", 5)]


def test_by_default_a_dead_event_blocks_nobody(add):
    add("a", 1, state="dead")
    later = add("a", 2)
    assert ids(take()) == [later]


def test_a_dead_event_blocks_its_key_and_no_other_if_the_setting_says_so(add, settings):
    settings.OUTBOX_DEAD_BLOCKS_KEY = True
    dead, later, other = add("a", 1, state="dead"), add("a", 2), add("b", 1)
    assert ids(take()) == [other]
    assert discard([dead], "not needed") == 1
    assert ids(take()) == [later]


def test_a_requeued_dead_event_goes_before_those_it_held_back(add, settings):
    settings.OUTBOX_DEAD_BLOCKS_KEY = True
    dead = add("a", 1, state="dead")
    add("a", 2)
    assert not take().events
    assert requeue([dead]) == 1
    first = take()
    assert names(first) == [("a", 1)]
    confirm(first)
    assert names(take()) == [("a", 2)]


def test_a_refused_event_backs_off_keeps_its_reason_and_its_attempt(add, look, settings):
    settings.OUTBOX_BACKOFF_BASE_SECONDS = settings.OUTBOX_BACKOFF_CAP_SECONDS = 1000.0
    event_id = add()
    batch = take()
    settled = confirm(batch, only=[], refused={event_id: Refusal("NO_ROUTE")})
    row = look(event_id)
    assert (settled.retried, row.state, row.attempts, row.error, row.lease_token) == (1, "pending", 1, "NO_ROUTE", None)
    assert not take().events


def test_blameless_trouble_burns_no_attempt(add, look):
    refused, unclear = add("a"), add("b")
    settled = confirm(take(), only=[], refused={refused: Refusal("NACK", blameless=True)})
    assert (settled.retried, settled.released) == (1, 1)
    assert (look(refused).attempts, look(refused).error) == (0, "NACK")
    assert look(unclear).attempts == 0
    assert ids(take()) == [unclear]


def given_up(caplog):
    return [record.event_id for record in caplog.records if record.message == "event given up"]


def test_the_last_attempt_ends_dead_with_its_reason_and_a_line_in_the_log(add, look, settings, caplog):
    settings.OUTBOX_MAX_ATTEMPTS = 3
    event_id, other = add(attempts=2), add(attempts=1)
    refused = {event_id: Refusal("NO_ROUTE"), other: Refusal("NO_ROUTE")}
    assert confirm(take(), only=[], refused=refused).dead == 1
    assert (look(event_id).state, look(event_id).error) == ("dead", "NO_ROUTE")
    assert given_up(caplog) == [str(event_id)]


def test_a_permanent_refusal_ends_dead_at_once_and_lets_the_key_go_on(add, look):
    event_id, later = add("a", 1), add("a", 2)
    batch = take(limit=1)
    assert not take().events
    assert confirm(batch, only=[], refused={event_id: Refusal("gone", permanent=True)}).dead == 1
    assert ids(take()) == [later]


def test_what_every_relay_died_of_ends_dead_without_another_try(add, look, settings, expire_leases, caplog):
    settings.OUTBOX_MAX_ATTEMPTS = 2
    event_id = add()
    for _ in range(2):
        assert ids(take()) == [event_id]
        expire_leases()
    assert not take().events
    assert look(event_id).state == "dead"
    assert given_up(caplog) == [str(event_id)]


def test_a_settlement_after_the_lease_passed_on_changes_nothing(add, look, expire_leases):
    event_id = add()
    frozen = take()
    expire_leases()
    other = take()
    late = confirm(frozen)
    assert (late.published, late.lost) == (0, 1)
    assert confirm(frozen, only=[], refused={event_id: Refusal("x", permanent=True)}).dead == 0
    assert release(frozen) == 0
    assert look(event_id).lease_token == other.token
    assert confirm(other).published == 1


def test_a_settlement_changes_only_the_ids_it_is_given(add, look):
    first, second = add("a"), add("b")
    confirm(take(), only=[first])
    assert (look(first).state, look(second).state, look(second).attempts) == ("published", "pending", 0)


def test_a_stopping_relay_hands_its_lease_back_without_an_attempt(add, look):
    event_id = add()
    assert release(take(), "stopped") == 1
    assert (look(event_id).attempts, look(event_id).error) == (0, "stopped")
    assert ids(take()) == [event_id]


def test_suspects_are_never_mixed_with_the_rest_and_taken_in_ever_smaller_batches(add, expire_leases):
    for number in range(16):
        add(f"k{number}")
    sizes = [len(take(limit=16).events)]
    for _ in range(3):
        expire_leases()
        batch = take(limit=16)
        sizes.append(len(batch.events))
    assert sizes == [16, 4, 1, 1]
    fresh = add("fresh", due_at=Now() - timedelta(hours=1))
    expire_leases()
    assert ids(take(limit=16)) == [fresh]


def test_the_event_that_kills_its_relay_ends_alone_and_its_neighbours_go_out(add, look, settings, expire_leases):
    settings.OUTBOX_MAX_ATTEMPTS = 6
    everyone = [add(f"k{number}") for number in range(20)]
    poison = everyone[13]
    for _ in range(200):
        batch = take(limit=20)
        if poison not in ids(batch):
            confirm(batch)
        expire_leases()
    assert look(poison).state == "dead"
    assert {look(event_id).state for event_id in everyone if event_id != poison} == {"published"}


def test_a_claim_that_leaves_suspects_says_that_there_is_more_and_starts_over(add):
    old = add("old")
    take()
    OutboxMessage.objects.filter(id=old).update(due_at=Now() - timedelta(seconds=1))
    add("new", due_at=Now() - timedelta(hours=1))
    batch = take()
    assert (names(batch), batch.more, batch.horizon) == ([("new", 1)], True, None)
    assert ids(take()) == [old]


def test_an_abandoned_batch_counts_and_comes_back_as_suspects(add, look, pass_time):
    event_id = add()
    abandon(take(), "publisher raised")
    assert (look(event_id).attempts, look(event_id).error) == (1, "publisher raised")
    assert look(event_id).lease_token is not None
    pass_time(3600)
    assert ids(take()) == [event_id]


def test_an_abandoned_event_can_be_discarded_at_once_and_keeps_its_cause(add, look):
    event_id = add()
    batch = take()
    abandon(batch, "The publisher raised KeyError('exchange')")
    assert look(event_id).due_at > database_now()
    assert discard([event_id], "Poison.") == 1
    assert look(event_id).error == "Poison. Before: The publisher raised KeyError('exchange')"
    assert confirm(batch).published == 0


def test_what_a_dead_relay_left_can_be_discarded_while_it_is_parked_and_is_a_suspect_still(add, look, expire_leases):
    first, later = add("a", 1), add("a", 2)
    take()
    expire_leases()
    backoff = {"lease_token": None, "error": "NO_ROUTE", "due_at": Now() + timedelta(minutes=3)}
    OutboxMessage.objects.filter(id=first).update(**backoff)
    assert not take().events and look(later).parked
    add("new")
    OutboxMessage.objects.filter(id=first).update(state="published", published_at=Now())
    OutboxMessage.objects.filter(id=later).update(due_at=Now() - timedelta(hours=1), parked=False)
    assert ids(take()) == [later], "and not with the new one"
    expire_leases()
    OutboxMessage.objects.filter(id=first).update(state="pending", published_at=None)
    take()
    assert look(later).parked and discard([later], "Poison.") == 1


@pytest.mark.parametrize(
    "error, abandoned, known",
    [
        ("", True, "Attempts used up. The publisher raised X"),
        (
            "No route.",
            False,
            "Attempts used up; the last relay that claimed it died or lost its lease. Before: No route.",
        ),
        ("", False, "Attempts used up; every relay that claimed it died or lost its lease."),
    ],
)
def test_what_is_buried_keeps_what_was_known_of_it(add, look, settings, pass_time, caplog, error, abandoned, known):
    event_id = add(attempts=settings.OUTBOX_MAX_ATTEMPTS - 1, error=error)
    other = add("b", attempts=settings.OUTBOX_MAX_ATTEMPTS, error="Another.")
    batch = take(limit=1)
    if abandoned:
        abandon(batch, "The publisher raised X")
    pass_time(7200)
    caplog.clear()
    assert not take().events
    assert (look(event_id).state, look(event_id).error) == ("dead", known)
    assert look(other).error.endswith("Before: Another.")
    assert {record.reason for record in caplog.records} == {known, look(other).error}


def test_the_horizon_skips_what_was_due_before_it(add):
    add("early", due_at=Now() - timedelta(hours=1))
    late = add("late", due_at=Now() - timedelta(minutes=1))
    first = take(limit=1)
    assert (names(first), first.more) == ([("early", 1)], True)
    release(first)
    OutboxMessage.objects.filter(key="early").update(due_at=Now() - timedelta(hours=1))
    assert ids(take(after=first.horizon + timedelta(minutes=30))) == [late]
    assert names(take()) == [("early", 1)]


def test_with_no_backlog_the_horizon_leaves_room_for_late_commits(add):
    due = Now() - timedelta(hours=1)
    confirm_all = add("a", due_at=due)
    batch = take()
    assert ids(batch) == [confirm_all]
    late = add("late", due_at=due - timedelta(seconds=LATE_COMMIT_SECONDS - 1))
    add("too late", due_at=due - timedelta(seconds=LATE_COMMIT_SECONDS + 10))
    second = take(after=batch.horizon)
    assert ids(second) == [late]
    release(second)


def test_an_empty_claim_keeps_the_horizon(db):
    moment = database_now()
    assert take(after=moment).horizon == moment


@pytest.mark.parametrize("state", ["dead", "published"])
def test_requeue_starts_over_and_is_safe_to_press_twice(add, look, state):
    published_at = Now() if state == "published" else None
    event_id = add(state=state, attempts=20, error="old", published_at=published_at, channel="broker")
    assert (requeue([event_id]), requeue([event_id])) == (1, 0)
    row = look(event_id)
    assert (row.state, row.attempts, row.error, row.channel, row.published_at) == ("pending", 0, "", "", None)


def test_requeue_leaves_a_leased_event_to_its_relay(add):
    event_id = add()
    batch = take()
    assert requeue([event_id]) == 0
    assert confirm(batch).published == 1


def test_a_requeued_older_event_goes_before_a_pending_later_one(add):
    older = add("a", 1, state="published", published_at=Now())
    later = add("a", 2)
    requeue([older])
    assert ids(take()) == [older, later]


def test_a_requeued_older_event_is_sent_again_although_later_ones_are_out(add):
    older = add("a", 1, state="published", published_at=Now())
    add("a", 2, state="published", published_at=Now())
    requeue([older])
    assert ids(take()) == [older]


def test_discard_is_dead_with_the_reason_and_safe_to_press_twice(add, look):
    event_id = add(error="NO_ROUTE")
    assert (discard([event_id], "By operator."), discard([event_id], "again")) == (1, 0)
    assert (look(event_id).state, look(event_id).error) == ("dead", "By operator. Before: NO_ROUTE")
    assert not take().events


def test_discard_leaves_a_leased_event_to_its_relay_until_the_lease_ends(add, look, expire_leases):
    event_id = add()
    batch = take()
    assert discard([event_id], "x") == 0
    expire_leases()
    assert discard([event_id], "x") == 1
    assert confirm(batch).published == 0
    assert look(event_id).state == "dead"


def test_discarding_a_waiting_event_releases_those_behind_it(add):
    first = add("a", 1, due_at=Now() + timedelta(minutes=5))
    later = add("a", 2)
    assert not take().events
    discard([first], "x")
    assert ids(take()) == [later]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_relays_never_claim_the_same_row(held):
    for number in range(20):
        add_event(f"k{number}")
    with held(lambda: set(ids(take(limit=10)))) as theirs:
        ours = set(ids(take(limit=20)))
    assert (len(theirs), len(ours), theirs & ours) == (10, 10, set())


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_key_stays_with_one_relay_even_before_that_ones_claim_is_committed(held):
    add_event("a", 1)
    add_event("a", 2)
    with held(lambda: names(take(limit=1))) as theirs:
        assert theirs == [("a", 1)]
        assert not take().events


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_key_is_not_overtaken_while_the_settlement_of_its_first_event_is_not_committed(held):
    add_event("a", 1)
    first = take()
    add_event("a", 2)
    with held(lambda: confirm(first, only=[], refused={ids(first)[0]: Refusal("x", blameless=True)})):
        assert not take().events
    assert not take().events


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_claim_never_waits_for_another_transaction(held):
    add_event("a", 1)
    add_event("b", 1)

    def lock_one():
        return OutboxMessage.objects.select_for_update().get(key="a").key

    with held(lock_one), transaction.atomic():
        assert names(take()) == [("b", 1)]


@pytest.mark.parametrize("hours", [-48, 48])
def test_a_wrong_process_clock_moves_no_due_time(add, look, settings, monkeypatch, hours):
    settings.OUTBOX_BACKOFF_BASE_SECONDS = settings.OUTBOX_BACKOFF_CAP_SECONDS = 100.0
    settings.OUTBOX_DEAD_BLOCKS_KEY = True
    process_now, process_time = timezone.now, time.time
    monkeypatch.setattr(timezone, "now", lambda: process_now() + timedelta(hours=hours))
    monkeypatch.setattr(time, "time", lambda: process_time() + hours * 3600)
    refused, unclear, nacked = add("a"), add("b"), add("c")
    behind_dead = [add("d", 1, state="dead"), add("d", 2)][1]
    batch = take()
    assert {event.id for event in batch.events} == {refused, unclear, nacked}
    refusals = {refused: Refusal("x"), nacked: Refusal("y", blameless=True)}
    leases = [look(event_id).due_at for event_id in ids(batch)]
    confirm(batch, only=[], refused=refusals)
    requeue([add("e", state="dead")])
    now = database_now()
    for due_at in [*leases, *OutboxMessage.objects.values_list("due_at", flat=True)]:
        assert abs(due_at - now) < timedelta(hours=1)
    assert look(behind_dead).parked
