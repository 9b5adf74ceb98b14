"""One pass: what it tells the database about what the channel said."""

import pytest
from django.db import connection
from django.db.models.functions import Now

from outbox import relay
from outbox.models import ChannelState
from outbox.publisher import Outcome, PublishError, Refusal
from outbox.relay import Horizon, run_once

pytestmark = pytest.mark.django_db


def test_all_confirmed_is_all_published(fake, add, look):
    ids = [add("a", 1), add("a", 2), add("b", 1)]
    counts = run_once()
    assert (counts.claimed, counts.published, counts.more, counts.channel) == (3, 3, False, "broker")
    assert {look(event_id).state for event_id in ids} == {"published"}
    assert not run_once()


def test_an_idle_pass_sends_nothing(fake, db):
    assert (run_once().claimed, fake.sent) == (0, [])


def test_partly_confirmed_is_partly_published_and_the_rest_is_handed_back(fake, add, look):
    first, second, third = add("a"), add("b"), add("c")
    fake.answer = lambda events: Outcome(confirmed={first}, refused={second: Refusal("NO_ROUTE")})
    counts = run_once()
    assert (counts.claimed, counts.published, counts.retried, counts.released) == (3, 1, 1, 1)
    assert [look(event_id).state for event_id in (first, second, third)] == ["published", "pending", "pending"]
    assert (look(second).attempts, look(third).attempts) == (1, 0)


def test_what_overtook_a_failed_event_of_its_key_is_sent_again_after_it(fake, add, look, pass_time):
    first, second, other = add("a", 1), add("a", 2), add("b", 1)
    fake.answer = lambda events: Outcome(confirmed={second, other}, refused={first: Refusal("nack", blameless=True)})
    assert run_once().published == 1
    assert (look(second).state, look(second).attempts, look(other).state) == ("pending", 0, "published")
    fake.answer = None
    pass_time(60)
    while run_once().more:
        pass
    assert look(second).state == "published"
    assert [name for batch in fake.sent[1:] for name in batch] == [("a", 1), ("a", 2)]


def test_a_later_event_stands_when_the_earlier_one_will_never_be_sent(fake, add, look):
    first, second = add("a", 1), add("a", 2)
    fake.answer = lambda events: Outcome(confirmed={second}, refused={first: Refusal("gone", permanent=True)})
    counts = run_once()
    assert (counts.dead, counts.published) == (1, 1)
    assert look(second).state == "published"


def test_trouble_opens_the_breaker_burns_no_attempt_and_keeps_the_reason(fake, add, look):
    confirmed, unclear = add("a"), add("b")
    fake.answer = lambda events: Outcome(confirmed={confirmed}, trouble=PublishError("alarm"))
    counts = run_once()
    assert (counts.published, counts.released, counts.more) == (1, 1, False)
    assert (look(confirmed).state, look(unclear).attempts, look(unclear).error) == ("published", 0, "alarm")
    assert ChannelState.objects.get(name="broker").failing_since is not None
    assert run_once().waiting
    assert len(fake.sent) == 1


def test_a_probe_that_succeeds_closes_the_breaker(fake, add, look):
    event_id = add()
    ChannelState.objects.create(name="broker", failing_since=Now(), retry_at=Now(), failures=1, reason="alarm")
    assert run_once().published == 1
    assert look(event_id).state == "published"
    assert ChannelState.objects.get(name="broker").failing_since is None


def test_an_exception_in_a_publisher_counts_backs_off_and_stops_nobody(fake, add, look, caplog):
    event_id = add()

    def explode(events):
        raise RuntimeError("a defect")

    fake.answer = explode
    counts = run_once()
    row = look(event_id)
    assert (counts.claimed, counts.published, counts.retried, fake.closed) == (1, 0, 1, 1)
    assert (row.state, row.attempts) == ("pending", 1)
    assert "a defect" in row.error
    assert row.lease_token is not None


def test_a_stop_in_the_middle_hands_the_batch_back_and_goes_through(fake, add, look):
    event_id = add()

    def stop(events):
        raise KeyboardInterrupt

    fake.answer = stop
    with pytest.raises(KeyboardInterrupt):
        run_once()
    row = look(event_id)
    assert (row.state, row.attempts, row.lease_token, fake.closed) == ("pending", 0, None, 1)


def test_a_lost_lease_is_counted_and_not_published(fake, add, look):
    event_id = add()

    def be_overtaken(events):
        type(look(event_id)).objects.update(lease_token=None)
        return Outcome(confirmed={event_id})

    fake.answer = be_overtaken
    counts = run_once()
    assert (counts.claimed, counts.published, counts.lost) == (1, 0, 1)
    assert look(event_id).state == "pending"


def test_a_full_batch_says_that_there_is_more(fake, add):
    add("a")
    add("b")
    assert run_once(limit=1).more
    assert len(fake.sent[0]) == 1


@pytest.mark.django_db(transaction=True)
def test_the_channel_is_used_outside_any_transaction(fake):
    from tests.outbox.conftest import add_event

    add_event()
    seen = []
    fake.answer = lambda events: seen.append(connection.in_atomic_block) or Outcome({event.id for event in events})
    assert run_once().published == 1
    assert seen == [False]


def test_a_horizon_hints_until_a_full_scan_is_due(fake, add, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(relay.time, "monotonic", lambda: clock[0])
    for key in "abc":
        add(key)
    horizon = Horizon()
    assert horizon.hint() is None
    run_once(limit=1, horizon=horizon)
    assert horizon.hint() is not None
    clock[0] += relay.FULL_SCAN_SECONDS
    assert horizon.hint() is None


def test_a_late_commit_behind_the_horizon_is_found_by_the_next_full_scan(fake, add, look, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(relay.time, "monotonic", lambda: clock[0])
    for key in "abcd":
        add(key)
    horizon = Horizon()
    run_once(limit=1, horizon=horizon)
    late = add("late", due_at=look_before(look))
    run_once(limit=1, horizon=horizon)
    assert look(late).state == "pending"
    clock[0] += relay.FULL_SCAN_SECONDS
    run_once(limit=1, horizon=horizon)
    assert look(late).state == "published"


def look_before(look):
    from datetime import timedelta

    return Now() - timedelta(hours=1)
