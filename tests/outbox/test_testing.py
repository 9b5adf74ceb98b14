"""The test kit for those who build on the outbox."""

import pytest

from outbox.publisher import Outcome, PublishError, Refusal
from outbox.services import Event, enqueue
from outbox.testing import assert_enqueued, drain, enqueued
from tests.outbox.fakes import FakePublisher

pytestmark = pytest.mark.django_db


def put(*keys):
    enqueue([Event("transactions", "transaction.created", key, number, {}) for number, key in enumerate(keys)])


def test_it_finds_what_was_enqueued():
    put("a", "b")
    assert [event["subject"] for event in enqueued()] == ["a", "b"]
    (event,) = assert_enqueued("transaction.created", key="a")
    assert event["partitionkey"] == "a"


@pytest.mark.parametrize("arguments", [{"count": 1}, {"count": 3}, {"key": "c"}])
def test_it_fails_with_what_there_is_instead(arguments):
    put("a", "b")
    with pytest.raises(AssertionError, match=r"transaction.created of a"):
        assert_enqueued("transaction.created", **arguments)


def test_draining_delivers_everything_in_order_and_settles_it(add, look):
    ids = [add("a", 2), add("a", 1), add("b", 1)]
    assert sorted((event.key, event.sequence) for event in drain(limit=1)) == [("a", 1), ("a", 2), ("b", 1)]
    assert {look(event_id).state for event_id in ids} == {"published"}
    assert drain() == []


def test_what_the_publisher_refuses_stays(add, look):
    first, second = add("a"), add("b")
    publisher = FakePublisher()
    publisher.answer = lambda events: Outcome(confirmed={second}, refused={first: Refusal("no", blameless=True)})
    assert [event.id for event in drain(publisher)] == [second]
    assert look(first).error == "no"


def test_a_publisher_in_trouble_ends_the_draining(add, look):
    event_id = add()
    publisher = FakePublisher()
    publisher.answer = lambda events: Outcome(trouble=PublishError("away"))
    assert drain(publisher) == []
    assert look(event_id).state == "pending"
