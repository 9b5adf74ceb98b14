"""Each row of the contract's result table (section 4), by name: what the admin's inbox and the transaction's page show."""

import time
import uuid

import pytest
from django.db import OperationalError
from django.urls import reverse

from tests.webhooks.test_result_table import KEY, Sender, apply, body_of
from webhooks.models import InboxMessage
from webhooks.signing_keys import generate_secret, load_key

pytestmark = pytest.mark.django_db


class Admin:
    """What a person with the right to see everything reads there."""

    def __init__(self, client):
        self.client = client

    def rows(self, **query):
        return self.client.get(reverse("admin:webhooks_inboxmessage_changelist"), query).context["cl"].result_list

    def text(self, model, pk):
        page = self.client.get(reverse(f"admin:{model}_change", args=[pk]))
        assert page.status_code == 200
        return page.content.decode()

    def result(self, webhook_id):
        (row,) = self.rows(q=webhook_id)
        return row, self.text("webhooks_inboxmessage", row.pk)


@pytest.fixture
def sender(client):
    return Sender(client)


@pytest.fixture
def shown(admin_client):
    return Admin(admin_client)


@pytest.fixture
def txn(api):
    return api.create().json()


def assert_shown(shown, webhook_id, state, words, txn=None):
    """In the list of its state, on its own page with what it means, and on the page of the transaction."""
    row, text = shown.result(webhook_id)
    assert row.state == state and words in text and webhook_id in text
    assert webhook_id in [found.webhook_id for found in shown.rows(state=state)]
    others = {other for other in InboxMessage.State.values if other != state}
    assert all(webhook_id not in [found.webhook_id for found in shown.rows(state=other)] for other in others)
    if txn is not None:
        page = shown.text("transactions_transaction", txn["id"])
        assert webhook_id in page and state in page.split(webhook_id, 1)[1][:3000]
        assert reverse("admin:transactions_transaction_change", args=[txn["id"]]) in text
    return row, text


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook-signature": None},
        {"webhook-signature": "nonsense"},
        {"key": load_key(generate_secret())},
        {"timestamp": "hello"},
        {"timestamp": int(time.time()) - 301},
    ],
    ids=["missing", "malformed", "wrong", "timestamp malformed", "timestamp outside"],
)
def test_signature_or_timestamp_refused_shows_no_row(sender, shown, txn, wrong):
    assert sender.post(body_of(txn["id"]), "msg_bad", **wrong).status_code == 401
    assert not shown.rows() and "msg_bad" not in shown.text("transactions_transaction", txn["id"])


def test_good_new_valid_shows_received_then_applied_and_the_new_status(sender, shown, txn):
    sender.post(body_of(txn["id"]), "msg_1")
    assert_shown(shown, "msg_1", "received", "a worker applies it within seconds", txn)
    apply()
    row, text = assert_shown(shown, "msg_1", "applied", "Nothing to do", txn)
    assert row.applied_at and "/verb/" not in text, "an applied result has no verbs"
    page = shown.text("transactions_transaction", txn["id"])
    assert "succeeded" in page and "consumer" in page


@pytest.mark.parametrize(
    "raw",
    [b"not json at all", b'{"type": "transaction.succeeded"}', body_of(uuid.uuid4(), "transaction.exploded")],
    ids=["not JSON", "fails the schema", "unknown type"],
)
def test_good_new_but_no_result_shows_quarantined_with_bytes_problem_and_both_verbs(sender, shown, raw):
    problem = sender.post(raw, "msg_q").json()["problem"]
    row, text = assert_shown(shown, "msg_q", "quarantined", "Signed, but no result")
    assert problem and row.reason and row.reason[:20] in text
    assert ("not json at all" if raw == b"not json at all" else "transaction.") in text.split("As it was signed")[1]
    assert "/verb/reapply/" in text and "/verb/discard/" in text


def test_same_id_same_bytes_shows_one_row_with_the_count(sender, shown, txn):
    for _ in range(3):
        sender.post(body_of(txn["id"]), "msg_1")
    assert len(shown.rows()) == 1
    row, _ = assert_shown(shown, "msg_1", "received", "worker", txn)
    assert row.deliveries == 3


def test_same_id_other_bytes_shows_the_first_and_the_evidence_beside_it(sender, shown, txn):
    sender.post(body_of(txn["id"]), "msg_1")
    assert sender.post(body_of(txn["id"], "transaction.failed"), "msg_1").status_code == 422
    apply()
    row, text = assert_shown(shown, "msg_1", "applied", "The same id with other bytes", txn)
    evidence = row.reused.get()
    assert reverse("admin:webhooks_reusedwebhookid_change", args=[evidence.pk]) in text
    other = shown.text("webhooks_reusedwebhookid", evidence.pk)
    assert "transaction.failed" in other and "msg_1" in other and "/verb/" not in other
    assert "succeeded" in shown.text("transactions_transaction", txn["id"])


def test_unknown_transaction_shows_unmatched_then_dead(sender, shown, settings):
    unknown = uuid.uuid4()
    sender.post(body_of(unknown), "msg_u")
    apply()
    row, text = assert_shown(shown, "msg_u", "unmatched", "looked at again for 24 hours")
    assert str(unknown) in text and "There is no such transaction" not in row.reason
    settings.INBOX_UNMATCHED_HOURS = 0
    InboxMessage.objects.update(due_at=row.received_at)
    apply()
    _, text = assert_shown(shown, "msg_u", "dead", "Given up")
    assert "unknown" in text and "/verb/reapply/" in text


def test_terminal_with_the_same_outcome_shows_noop(sender, shown, txn):
    for name in ("msg_1", "msg_2"):
        sender.post(body_of(txn["id"]), name)
        apply()
    assert_shown(shown, "msg_1", "applied", "Nothing to do", txn)
    assert_shown(shown, "msg_2", "noop", "said this already", txn)


def test_terminal_with_another_outcome_shows_conflict_and_the_outcome_that_stands(sender, shown, txn):
    sender.post(body_of(txn["id"]), "msg_1")
    apply()
    sender.post(body_of(txn["id"], "transaction.failed"), "msg_2")
    apply()
    _, text = assert_shown(shown, "msg_2", "conflict", "was not overwritten", txn)
    assert "/verb/discard/" in text
    page = shown.text("transactions_transaction", txn["id"])
    assert "succeeded" in page and "no_funds" not in page


def test_a_canceled_transaction_shows_conflict(sender, shown, txn, api):
    api.request("DELETE", f"transactions/{txn['id']}")
    sender.post(body_of(txn["id"], version=2), "msg_c")
    apply()
    assert_shown(shown, "msg_c", "conflict", "was not overwritten", txn)
    assert "canceled" in shown.text("transactions_transaction", txn["id"])


def test_an_older_version_shows_superseded(sender, shown, txn, api):
    api.request("PATCH", f"transactions/{txn['id']}", {"description": "new"}, If_Match="*")
    sender.post(body_of(txn["id"], version=1), "msg_old")
    apply()
    assert_shown(shown, "msg_old", "superseded", "older version", txn)


def test_a_failing_apply_shows_failed_with_the_error_then_dead(sender, shown, txn, settings, monkeypatch):
    settings.INBOX_MAX_ATTEMPTS = 2
    sender.post(body_of(txn["id"]), "msg_f")

    def explode(results):
        raise RuntimeError("boom in the rules")

    monkeypatch.setattr("webhooks.services.transactions.apply_results", explode)
    apply()
    row, text = assert_shown(shown, "msg_f", "failed", "tried again by itself", txn)
    assert "boom in the rules" in text and row.attempts == 1
    assert "msg_f" in [found.webhook_id for found in shown.rows(reason="boom")]
    InboxMessage.objects.update(due_at=row.received_at)
    apply()
    _, text = assert_shown(shown, "msg_f", "dead", "Given up", txn)
    assert "boom in the rules" in text and "/verb/reapply/" in text


def test_with_the_broker_away_the_result_shows_received_and_is_applied_all_the_same(sender, shown, txn, monkeypatch):
    def away():
        raise OSError("no broker")

    monkeypatch.setattr("webhooks.nudge.poke", away)
    sender.post(body_of(txn["id"]), "msg_b")
    assert_shown(shown, "msg_b", "received", "worker", txn)
    apply()
    assert_shown(shown, "msg_b", "applied", "Nothing to do", txn)


def test_with_the_database_away_or_over_the_rate_nothing_is_shown(sender, shown, txn, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("could not connect")

    with monkeypatch.context() as patched:
        patched.setattr("webhooks.receiving.inbox.record", away)
        assert sender.post(body_of(txn["id"]), "msg_d").status_code == 503
    with monkeypatch.context() as patched:
        patched.setattr("webhooks.views._bucket.take", lambda: 3)
        assert sender.post(body_of(txn["id"]), "msg_r").status_code == 429
    assert not shown.rows()
    page = shown.text("transactions_transaction", txn["id"])
    assert "msg_d" not in page and "msg_r" not in page
    assert KEY.key_id not in page
