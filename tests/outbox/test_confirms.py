"""The bookkeeping of acks, nacks and returns."""

import uuid

import pytest

from outbox.confirms import ConfirmTracker

A, B, C, D = (uuid.UUID(int=number) for number in range(1, 5))


@pytest.fixture
def tracker():
    tracker = ConfirmTracker()
    for message_id in (A, B, C, D):
        tracker.published(message_id)
    return tracker


def test_an_ack_confirms_its_message_alone(tracker):
    tracker.on_ack(2, False)
    assert (tracker.confirmed, tracker.outstanding) == ({B}, 3)


def test_an_ack_of_multiple_confirms_all_up_to_it(tracker):
    tracker.on_ack(1, False)
    tracker.on_ack(3, True)
    assert (tracker.confirmed, tracker.outstanding) == ({A, B, C}, 1)


def test_an_ack_of_multiple_with_tag_zero_confirms_all(tracker):
    tracker.on_ack(0, True)
    assert (tracker.confirmed, tracker.outstanding) == ({A, B, C, D}, 0)


def test_a_nack_confirms_nothing_alone_or_multiple(tracker):
    tracker.on_nack(1, False)
    tracker.on_nack(3, True)
    tracker.on_ack(4, False)
    assert (tracker.nacked, tracker.confirmed) == ({A, B, C}, {D})


def test_the_ack_that_follows_a_return_is_no_confirmation(tracker):
    tracker.on_return(str(B), "transactions/nobody")
    tracker.on_ack(4, True)
    assert (tracker.confirmed, tracker.outstanding) == ({A, C, D}, 0)
    assert tracker.returned == {B: "transactions/nobody"}


@pytest.mark.parametrize("message_id", [None, "", "not-a-uuid"])
def test_a_return_that_names_nobody_counts_against_everything_waiting(tracker, message_id):
    tracker.on_ack(1, False)
    tracker.on_return(message_id, "?")
    tracker.on_ack(4, True)
    assert (tracker.confirmed, set(tracker.returned)) == ({A}, {B, C, D})


def test_an_unknown_or_repeated_tag_changes_nothing(tracker):
    tracker.on_ack(9, False)
    tracker.on_ack(1, False)
    tracker.on_ack(1, False)
    tracker.on_nack(1, False)
    assert (tracker.confirmed, tracker.nacked, tracker.outstanding) == ({A}, set(), 3)


def test_tags_go_on_counting_in_the_next_batch_of_a_channel(tracker):
    tracker.on_ack(4, True)
    tracker.forget()
    assert not tracker.confirmed
    tracker.published(A)
    tracker.on_ack(1, False)
    assert tracker.outstanding == 1
    tracker.on_ack(5, False)
    assert tracker.confirmed == {A}


def test_a_new_batch_on_a_channel_with_unclear_messages_is_refused(tracker):
    with pytest.raises(RuntimeError):
        tracker.forget()
