"""What became of each stretch's transactions: counted by id, read up to a limit, weighed to the whole."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from outbox import trends as outbox_trends
from outbox.ids import first_at
from outbox.trends import Count
from transactions import trends
from transactions.models import ApiClient, Transaction

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EDGES = [NOON, NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)]


@pytest.fixture
def submit(db):
    client = ApiClient.objects.create(name="c")

    def submit(seconds, status="pending", took=None, **fields):
        at = NOON + timedelta(seconds=seconds)
        done = None if took is None else at + timedelta(seconds=took)
        values = {"account_number": "1", "amount": 1, "currency": "EUR", "direction": "debit", "transaction_date": at}
        times = {"created_at": at, "updated_at": done or at, "processed_at": done}
        Transaction.objects.create(id=first_at(at), client=client, status=status, **values, **times, **fields)

    return submit


def test_a_stretch_knows_outcomes_latencies_and_codes_of_what_was_submitted_in_it(submit, django_assert_num_queries):
    submit(0, "succeeded", 0.25)
    submit(20, "failed", 90, error={"code": "limit_exceeded", "message": "m"})
    submit(40)
    submit(60, "canceled")
    with django_assert_num_queries(1):
        first, second = trends.cohorts(EDGES)
    assert first.submitted == Count(3) and first.settled == 2
    assert first.statuses == Counter(succeeded=1, failed=1, pending=1)
    assert sorted(first.seconds) == [pytest.approx(0.25, abs=0.002), pytest.approx(90, abs=0.002)]
    assert first.codes == Counter(limit_exceeded=1)
    assert second.submitted == Count(1) and second.settled == 0 and second.seconds == []


def test_what_is_read_of_a_busy_stretch_is_weighed_to_all_of_it(submit, monkeypatch):
    monkeypatch.setattr(trends, "SAMPLE", 2)
    for second in range(4):
        submit(second, "succeeded" if second % 2 else "failed", 1, error={"message": "no code"})
    first = trends.cohorts(EDGES)[0]
    assert first.read == 2 and first.submitted == Count(4) and first.settled == 4
    assert first.codes == Counter(unknown=1) and first.weigh(1) == 2


def test_a_stretch_with_too_many_to_count_is_projected(submit, monkeypatch):
    monkeypatch.setattr(trends, "COUNT_AT_MOST", 4)
    monkeypatch.setattr(outbox_trends, "COUNT_AT_MOST", 4)
    for second in (5, 10, 15, 20, 25):
        submit(second)
    assert trends.cohorts(EDGES)[0].submitted == Count(12, exact=False)


def test_an_empty_stretch_is_nothing_and_divides_nothing(db):
    for cohort in trends.cohorts(EDGES):
        assert cohort.submitted == Count(0) and cohort.settled == 0 and cohort.weigh(1) == 0
