"""What the dashboard asks of the inbox: in one statement, with nothing there and with everything."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from webhooks import stats
from webhooks.models import InboxMessage, Refusal

pytestmark = pytest.mark.django_db


def add(number, state, age, **more):
    now = timezone.now()
    fields = {"sha256": b"x", "body": b"{}", "key_id": "k", "sent_at": 1, "door": "webhook", "state": state, **more}
    message = InboxMessage.objects.create(webhook_id=f"msg_{number}", due_at=now, **fields)
    InboxMessage.objects.filter(pk=message.pk).update(received_at=now - timedelta(seconds=age))


def test_an_inbox_that_never_had_anything():
    assert stats.backlog() == stats.Backlog("0", 0.0, "0", None, [])


def test_all_figures_come_in_one_statement_whatever_was_refused():
    for number, (state, age) in enumerate([("failed", 90), ("received", 30), ("dead", 60), ("quarantined", 10)]):
        add(number, state, age)
    add(9, "conflict", 5, discarded=True)
    now = timezone.now()
    for reason, age in (("signature-wrong", 40), ("timestamp-outside", 20)):
        at = now - timedelta(seconds=age)
        Refusal.objects.create(name=f"webhook:{reason}", door="webhook", reason=reason, count=age, last_at=at)
    with CaptureQueriesContext(connection) as captured:
        found = stats.backlog(now)
    assert len(captured) == 1
    assert (found.waiting, found.stuck) == ("2", "2")
    assert found.oldest_age_seconds == pytest.approx(90, abs=5)
    assert found.newest_age_seconds == pytest.approx(5, abs=5), "the newest by its id, settled or not"
    assert [(refusal.reason, refusal.count) for refusal in found.refusals] == [
        ("timestamp-outside", 20),
        ("signature-wrong", 40),
    ]
    assert [refusal.age_seconds for refusal in found.refusals] == pytest.approx([20, 40], abs=1)
    assert found.refusals == stats.refusal_stats(now)
