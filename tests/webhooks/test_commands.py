"""manage.py inbox stats|reapply|discard, the stats behind it, and retention."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from outbox.clock import database_now
from webhooks.models import InboxMessage
from webhooks.prune import prune_once
from webhooks.stats import inbox_stats

pytestmark = pytest.mark.django_db


def make(webhook_id, state, **fields):
    return InboxMessage.objects.create(
        webhook_id=webhook_id, sha256=b"x", body=b"{}", key_id="k", sent_at=1, door="webhook", state=state, **fields
    )


def run(capsys, *arguments):
    call_command("inbox", *arguments)
    return capsys.readouterr().out.strip()


def test_stats_count_what_waits_and_what_needs_somebody(capsys):
    make("a", "received", received_at=database_now() - timedelta(seconds=90))
    make("b", "dead"), make("c", "conflict"), make("d", "applied"), make("e", "quarantined")
    shown = json.loads(run(capsys, "stats"))
    assert shown["waiting"] == 1 and 89 < shown["oldest_age_seconds"] < 120
    assert (shown["dead"], shown["conflict"], shown["quarantined"], shown["unmatched"]) == (1, 1, 1, 0)
    assert inbox_stats().waiting == 1


def test_reapply_by_id_and_by_state_is_safe_to_run_twice(capsys):
    make("a", "dead"), make("b", "quarantined"), make("c", "applied")
    assert run(capsys, "reapply", "a", "--reason", "fixed") == "reapply: 1 of 1 results changed"
    assert run(capsys, "reapply", "a", "--reason", "fixed") == "reapply: 0 of 1 results changed"
    assert run(capsys, "reapply", "--state", "quarantined", "--reason", "mended") == "reapply: 1 of 1 results changed"
    assert InboxMessage.objects.get(webhook_id="c").state == "applied"


def test_discard_leaves_the_reason_on_the_row(capsys):
    make("a", "unmatched")
    assert run(capsys, "discard", "a", "--reason", "test data") == "discard: 1 of 1 results changed"
    row = InboxMessage.objects.get()
    assert row.state == "dead" and row.reason == "test data"


def test_a_verb_without_rows_says_what_to_name():
    with pytest.raises(CommandError, match="webhook-id"):
        call_command("inbox", "reapply", "--reason", "x")


def test_only_settled_results_past_their_retention_are_deleted():
    old = database_now() - timedelta(days=100)
    for name, state in (("a", "applied"), ("b", "dead"), ("c", "received"), ("d", "conflict")):
        make(name, state, received_at=old)
    make("e", "applied")
    assert prune_once() == 1 and prune_once() == 0
    assert set(InboxMessage.objects.values_list("webhook_id", flat=True)) == {"b", "c", "d", "e"}
