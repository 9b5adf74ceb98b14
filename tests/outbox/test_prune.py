"""Retention."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from outbox import prune
from outbox.models import OutboxMessage
from outbox.prune import prune_once

pytestmark = pytest.mark.django_db
LONG_AGO = Now() - timedelta(days=31)


def test_only_published_events_past_their_retention_go(add, settings):
    settings.OUTBOX_KEEP_DAYS = 30
    stays = {
        add(state="published", published_at=Now() - timedelta(days=29)),
        add(created_at=LONG_AGO, due_at=LONG_AGO),
        add(created_at=LONG_AGO, state="dead"),
    }
    add(state="published", published_at=LONG_AGO)
    assert prune_once() == 1
    assert set(OutboxMessage.objects.values_list("id", flat=True)) == stays
    assert prune_once() == 0


def test_a_batch_is_bounded_and_takes_the_oldest_first(add, monkeypatch):
    monkeypatch.setattr(prune, "BATCH", 2)
    newest = add("a", state="published", published_at=LONG_AGO)
    for _ in range(2):
        add("b", state="published", published_at=LONG_AGO - timedelta(days=1))
    assert prune_once() == 2
    assert OutboxMessage.objects.get().id == newest
    assert prune_once() == 1


def test_a_step_is_a_few_statements_however_many_rows_go(add, django_assert_max_num_queries):
    prune_once()
    for _ in range(10):
        add(state="published", published_at=LONG_AGO)
    with django_assert_max_num_queries(7):
        assert prune_once() == 10
