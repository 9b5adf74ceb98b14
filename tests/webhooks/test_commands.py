"""manage.py inbox stats|reapply|discard, the stats behind it, and retention."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from outbox.clock import database_now
from webhooks import prune, services
from webhooks.management.commands import inbox
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


def test_a_verb_without_rows_or_with_two_kinds_says_what_to_name():
    with pytest.raises(CommandError, match="webhook-id"):
        call_command("inbox", "reapply", "--reason", "x")
    with pytest.raises(CommandError, match="Either"):
        call_command("inbox", "reapply", "a", "--state", "dead", "--reason", "x")


@pytest.mark.parametrize("verb", ["reapply", "discard"])
def test_a_misspelt_id_is_told_and_nothing_is_changed(verb):
    make("a", "unmatched")
    with pytest.raises(CommandError, match="Not in the inbox: misspelt"):
        call_command("inbox", verb, "a", "misspelt", "--reason", "x")
    assert InboxMessage.objects.get().state == "unmatched"


@pytest.mark.parametrize("verb", ["reapply", "discard"])
def test_a_verb_is_written_to_the_audit_log_with_its_reason(capsys, caplog, verb):
    make("a", "dead"), make("b", "dead"), make("c", "dead")
    with caplog.at_level("INFO", logger="webhooks.audit"):
        run(capsys, verb, "a", "b", "--reason", "the schema is mended")
    (record,) = [record for record in caplog.records if record.name == "webhooks.audit"]
    assert (record.verb, record.reason, record.changed) == (verb, "the schema is mended", 2)
    assert sorted(record.webhook_ids) == ["a", "b"] and record.by


def test_reapply_of_a_state_leaves_discarded_results_alone_and_their_id_brings_one_back(capsys):
    make("a", "dead"), make("fraud", "unmatched")
    run(capsys, "discard", "fraud", "--reason", "fraud: never apply")
    assert run(capsys, "reapply", "--state", "dead", "--reason", "mended") == "reapply: 1 of 1 results changed"
    row = InboxMessage.objects.get(webhook_id="fraud")
    assert (row.state, row.discarded, row.reason) == ("dead", True, "fraud: never apply")
    run(capsys, "reapply", "fraud", "--reason", "it was none")
    row.refresh_from_db()
    assert (row.state, row.discarded) == ("received", False)


def test_many_are_reapplied_in_batches_and_what_is_done_stays_done(capsys, monkeypatch):
    monkeypatch.setattr(inbox, "BATCH", 2)
    for number in range(5):
        make(f"m{number}", "dead")
    reapply = services.reapply
    monkeypatch.setattr(services, "reapply", lambda ids: reapply(some) if len(some := list(ids)) == 2 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(capsys, "reapply", "--state", "dead", "--reason", "mended")
    assert capsys.readouterr().out.split("\n")[:2] == ["2 of 5 done", "4 of 5 done"]
    assert InboxMessage.objects.filter(state="dead").count() == 1


def test_what_is_discarded_while_others_are_reapplied_stays_so(capsys, monkeypatch):
    monkeypatch.setattr(inbox, "BATCH", 1)
    make("a", "dead"), make("b", "dead")
    reapply = services.reapply

    def and_somebody_discards(ids):
        some = list(ids)
        services.discard(
            InboxMessage.objects.filter(state="dead").exclude(id__in=some).values_list("id", flat=True), "fraud"
        )
        return reapply(some)

    monkeypatch.setattr(services, "reapply", and_somebody_discards)
    assert run(capsys, "reapply", "--state", "dead", "--reason", "mended").endswith("reapply: 1 of 2 results changed")
    assert sorted(InboxMessage.objects.values_list("state", "discarded")) == [("dead", True), ("received", False)]


def test_only_settled_results_past_their_retention_are_deleted():
    old = database_now() - timedelta(days=100)
    for name, state in (("a", "applied"), ("b", "dead"), ("c", "received"), ("d", "conflict")):
        make(name, state, received_at=old)
    make("e", "applied")
    assert prune_once() == 1 and prune_once() == 0
    assert set(InboxMessage.objects.values_list("webhook_id", flat=True)) == {"b", "c", "d", "e"}


@pytest.mark.postgres
def test_with_nothing_past_its_retention_a_look_reads_a_batch_and_not_all_that_is_kept():
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO webhooks_inboxmessage (webhook_id, sha256, body, key_id, sent_at, door, state, deliveries, reason,"
            " type, attempts) SELECT n, 'x', repeat('x', 500)::bytea, 'k', 1, 'webhook', 'applied', 1, '', '', 1"
            " FROM generate_series(1, 40000) AS n"
        )
        cursor.execute("ANALYZE webhooks_inboxmessage")
        with CaptureQueriesContext(connection) as captured:
            assert prune_once() == 0
        blocks = 0
        for query in captured.captured_queries:
            if "webhooks_inboxmessage" in query["sql"]:
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query['sql']}")
                plan = cursor.fetchone()[0][0]["Plan"]
                blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        cursor.execute("SELECT pg_relation_size('webhooks_inboxmessage') / 8192")
        assert blocks < cursor.fetchone()[0] / 5


def test_what_was_kept_from_before_stops_no_deletion_behind_it(monkeypatch):
    monkeypatch.setattr(prune, "BATCH", 2)
    old = database_now() - timedelta(days=100)
    for number, state in enumerate(
        ["dead", "applied", "conflict", "applied", "received", "noop", "superseded", "dead"]
    ):
        make(f"m{number}", state, received_at=old)
    make("new", "applied")
    assert [prune_once() for _ in range(3)] == [2, 2, 0]
    assert InboxMessage.objects.filter(state__in=["applied", "noop", "superseded"]).get().webhook_id == "new"
