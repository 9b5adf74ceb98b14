"""Events over time and why they fail: counted by stretch, projected where there are too many, one statement each."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from outbox import trends
from tests.outbox.conftest import add_event

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EDGES = [NOON, NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)]


def publish(*seconds):
    for second in seconds:
        add_event(key=f"at {second}", state="published", published_at=NOON + timedelta(seconds=second))


def test_each_stretch_counts_what_was_sent_in_it_and_its_end_belongs_to_the_next(django_assert_num_queries):
    publish(-1, 0, 59.5, 60, 119, 120)
    add_event(key="waits")
    add_event(key="dead", state="dead", error="NO_ROUTE")
    with django_assert_num_queries(1):
        assert trends.sent(EDGES) == [trends.Count(2), trends.Count(2)]


def test_more_than_is_counted_is_projected_and_said_to_be_no_exact_number(monkeypatch):
    monkeypatch.setattr(trends, "COUNT_AT_MOST", 3)
    # Three within 30 of 60 seconds, and some that are not looked at.
    publish(10, 20, 30, 31, 32, 33, 70)
    assert trends.sent(EDGES) == [trends.Count(6, exact=False), trends.Count(1)]


def test_a_projection_is_never_below_what_was_counted():
    last = EDGES[1] + timedelta(seconds=30)
    assert trends.project(trends.COUNT_AT_MOST, EDGES[0], EDGES[1], last).number == trends.COUNT_AT_MOST
    assert trends.project(trends.COUNT_AT_MOST, EDGES[0], EDGES[1], EDGES[0]).number >= trends.COUNT_AT_MOST


def test_reasons_tell_of_dead_and_retried_events_and_not_of_discarded_ones():
    add_event(key="a", state="dead", error="NO_ROUTE")
    add_event(key="b", state="dead", error="NO_ROUTE")
    add_event(key="c", state="dead", error="given up", discarded=True)
    add_event(key="d", error="HTTP 503", attempts=2)
    add_event(key="e")
    assert trends.reasons() == Counter({("dead", "NO_ROUTE"): 2, ("pending", "HTTP 503"): 1})
