"""Each row of the contract's result table (section 4), by name: answer, stored state, effect on the transaction."""

import json
import time
import uuid

import pytest
from django.db import OperationalError

from tests.settings import TEST_SECRET
from transactions.models import HistoryEntry, Transaction
from webhooks import inbox, services
from webhooks.models import InboxMessage, ReusedWebhookId
from webhooks.services import apply_due
from webhooks.signing import sign
from webhooks.signing_keys import generate_secret, load_key
from webhooks.tasks import receive_result

pytestmark = pytest.mark.django_db

KEY = load_key(TEST_SECRET)
NOW = "2026-11-22T10:15:00Z"


def body_of(transaction_id, type="transaction.succeeded", version=1, **data):
    if type == "transaction.succeeded":
        data.setdefault("processed_data", {"ok": True})
    if type == "transaction.failed":
        data.setdefault("error", {"code": "no_funds", "message": "No funds."})
    data = {"transaction_id": str(transaction_id), "transaction_version": version, **data}
    return json.dumps({"type": type, "timestamp": NOW, "data": data}).encode()


class Sender:
    """The Consumer's side of the door."""

    def __init__(self, client):
        self.client = client
        client.raise_request_exception = False

    def post(self, body, webhook_id=None, timestamp=None, key=KEY, **headers):
        webhook_id = webhook_id or f"msg_{uuid.uuid4().hex}"
        timestamp = str(timestamp if timestamp is not None else int(time.time()))
        signature = sign(key, webhook_id, int(timestamp), body) if timestamp.isdigit() else "v1,AAAA"
        signed = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature, **headers}
        signed = {name: value for name, value in signed.items() if value is not None}
        return self.client.post("/api/v1/webhooks/results", body, content_type="application/json", headers=signed)

    def receipt(self, webhook_id, signed_id=None):
        now = int(time.time())
        signed_id = signed_id or webhook_id
        headers = {
            "webhook-id": signed_id,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(KEY, signed_id, now, b""),
        }
        return self.client.get(f"/api/v1/webhooks/results/{webhook_id}", headers=headers)


@pytest.fixture
def sender(client):
    return Sender(client)


@pytest.fixture
def txn(api):
    return api.create().json()


def state_of(webhook_id):
    return InboxMessage.objects.get(webhook_id=webhook_id).state


def apply():
    return apply_due(budget_seconds=10)


def row_of(txn):
    return Transaction.objects.get(id=txn["id"])


# --- refused at the door: no row


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook-id": None},
        {"webhook-timestamp": None},
        {"webhook-signature": None},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "invalid_signature"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": ","},
        {"webhook-signature": "\tv1 ,, v1"},
        {"webhook-signature": "v1a,AAAA"},
        {"webhook-id": "other"},
        {"webhook-id": "with.dot"},
        {"webhook-id": ""},
    ],
    ids=lambda headers: ascii(headers).replace("\\", "/"),
)
def test_a_signature_missing_malformed_or_wrong_is_401_and_leaves_no_row(sender, txn, headers):
    answer = sender.post(body_of(txn["id"]), **headers)
    assert answer.status_code == 401 and answer["WWW-Authenticate"]
    assert answer.json()["type"].endswith("webhook-signature-invalid")
    assert not InboxMessage.objects.exists()


def test_a_signature_by_a_strangers_key_is_401(sender, txn):
    assert sender.post(body_of(txn["id"]), key=load_key(generate_secret())).status_code == 401
    assert not InboxMessage.objects.exists()


@pytest.mark.parametrize("offset", [-301, 302, -(10**6)])
def test_a_timestamp_outside_the_window_is_401(sender, txn, offset):
    answer = sender.post(body_of(txn["id"]), timestamp=int(time.time()) + offset)
    assert answer.status_code == 401 and answer.json()["type"].endswith("webhook-timestamp-invalid")
    assert not InboxMessage.objects.exists()


@pytest.mark.parametrize("timestamp", ["hello", "1e9", "NaN", "-1", "1614265330.9", "1614_265330", "", "９"])
def test_a_malformed_timestamp_is_401(sender, txn, timestamp):
    assert sender.post(body_of(txn["id"]), timestamp=timestamp).status_code == 401
    assert not InboxMessage.objects.exists()


@pytest.mark.parametrize("offset", [-295, 295])
def test_a_timestamp_inside_the_window_is_accepted(sender, txn, offset):
    assert sender.post(body_of(txn["id"]), timestamp=int(time.time()) + offset).status_code == 202


def test_the_media_type_encoding_size_and_method_are_checked_first(sender, client):
    url = "/api/v1/webhooks/results"
    assert client.post(url, b"{}", content_type="text/plain").status_code == 415
    assert (
        client.post(url, b"{}", content_type="application/json", headers={"content-encoding": "gzip"}).status_code
        == 415
    )
    assert client.post(url, b" " * (256 * 1024 + 1), content_type="application/json").status_code == 413
    answer = client.get(url)
    assert answer.status_code == 405 and answer["Allow"] == "POST"


# --- good, new


def test_a_good_new_result_is_202_accepted_received_then_applied_once(sender, txn, api):
    answer = sender.post(body_of(txn["id"]), "msg_1")
    assert answer.status_code == 202 and answer.json()["status"] == "accepted"
    assert answer.json()["receipt"].endswith("/api/v1/webhooks/results/msg_1")
    assert state_of("msg_1") == "received"
    assert apply() == {"applied": 1}
    assert state_of("msg_1") == "applied"
    shown = api.get(f"transactions/{txn['id']}").json()
    assert shown["status"] == "succeeded" and shown["processed_data"] == {"ok": True} and shown["version"] == 1
    assert shown["processed_at"] and shown["updated_at"] > txn["updated_at"]
    assert apply() == {}


def test_a_failed_result_keeps_its_error(sender, txn, api):
    sender.post(body_of(txn["id"], "transaction.failed"))
    apply()
    shown = api.get(f"transactions/{txn['id']}").json()
    assert shown["status"] == "failed" and shown["error"] == {"code": "no_funds", "message": "No funds."}


def test_processing_is_a_step_and_the_outcome_follows(sender, txn):
    sender.post(body_of(txn["id"], "transaction.processing"))
    apply()
    assert row_of(txn).status == "processing"
    sender.post(body_of(txn["id"]))
    apply()
    assert row_of(txn).status == "succeeded"


@pytest.mark.parametrize(
    "raw",
    [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b'{"type": "transaction.succeeded"}',
        body_of(uuid.uuid4(), "transaction.exploded"),
        body_of("no-uuid"),
        body_of(uuid.uuid4(), version=0),
        body_of(uuid.uuid4(), version=True),
        body_of(uuid.uuid4(), version="1"),
        body_of(uuid.uuid4(), version=10**30),
        body_of(uuid.uuid4(), processed_data=[]),
        body_of(uuid.uuid4(), processed_data={"big": "x" * 17000}),
        body_of(uuid.uuid4(), processed_data={"nul": "\x00"}),
        body_of(uuid.uuid4(), "transaction.failed", error={"code": 1}),
        b'{"type": "transaction.succeeded", "type": "transaction.failed"}',
    ],
    ids=lambda raw: raw[:60].decode(errors="replace"),
)
def test_what_is_signed_but_no_result_is_202_quarantined_with_its_bytes(sender, raw):
    answer = sender.post(raw, "msg_q")
    assert answer.status_code == 202 and answer.json()["status"] == "quarantined" and answer.json()["problem"]
    row = InboxMessage.objects.get()
    assert row.state == "quarantined" and bytes(row.body) == raw and row.reason
    assert apply() == {}


def test_unknown_members_are_kept_and_ignored(sender, txn):
    raw = json.loads(body_of(txn["id"]))
    raw["extra"], raw["data"]["more"] = {"a": 1}, [1.5]
    sender.post(json.dumps(raw).encode(), "msg_x")
    assert apply() == {"applied": 1}
    assert b"extra" in bytes(InboxMessage.objects.get().body)


# --- the same id again


def test_the_same_id_and_bytes_is_200_with_the_current_state_and_only_counts(sender, txn):
    raw = body_of(txn["id"])
    sender.post(raw, "msg_1")
    again = sender.post(raw, "msg_1")
    assert again.status_code == 200 and again.json() == {"status": "received"}
    apply()
    before = row_of(txn).updated_at
    third = sender.post(raw, "msg_1")
    assert third.status_code == 200 and third.json() == {"status": "applied"}
    assert InboxMessage.objects.get().deliveries == 3
    assert apply() == {} and row_of(txn).updated_at == before


def test_the_same_id_with_other_bytes_is_422_and_only_evidence(sender, txn):
    sender.post(body_of(txn["id"]), "msg_1")
    for _ in range(2):
        answer = sender.post(body_of(txn["id"], "transaction.failed"), "msg_1")
        assert answer.status_code == 422 and answer.json()["type"].endswith("webhook-id-reused")
    apply()
    assert row_of(txn).status == "succeeded"
    assert ReusedWebhookId.objects.get().deliveries == 2


# --- matched against the transaction


def test_an_unknown_transaction_is_202_unmatched_retried_and_then_dead(sender, settings):
    sender.post(body_of(uuid.uuid4()), "msg_u")
    assert apply() == {"unmatched": 1} and state_of("msg_u") == "unmatched"
    row = InboxMessage.objects.get()
    assert row.due_at > row.received_at
    settings.INBOX_UNMATCHED_HOURS = 0
    InboxMessage.objects.update(due_at=row.received_at)
    assert apply() == {"dead": 1} and state_of("msg_u") == "dead"


def test_a_version_not_reached_yet_is_unmatched_and_applied_when_it_is(sender, txn, api):
    sender.post(body_of(txn["id"], version=2), "msg_2")
    assert apply() == {"unmatched": 1}
    changed = api.request("PATCH", f"transactions/{txn['id']}", {"description": "new"}, If_Match="*")
    assert changed.json()["version"] == 2
    InboxMessage.objects.update(due_at=row_of(txn).created_at)
    assert apply() == {"applied": 1}
    assert row_of(txn).status == "succeeded" and row_of(txn).version == 2


def test_an_older_version_is_superseded(sender, txn, api):
    api.request("PATCH", f"transactions/{txn['id']}", {"description": "new"}, If_Match="*")
    sender.post(body_of(txn["id"], version=1), "msg_old")
    assert apply() == {"superseded": 1} and state_of("msg_old") == "superseded"
    assert row_of(txn).status == "pending"


def test_terminal_with_the_same_outcome_is_noop_with_another_conflict(sender, txn):
    sender.post(body_of(txn["id"]))
    apply()
    before = row_of(txn).updated_at
    sender.post(body_of(txn["id"]), "msg_same")
    sender.post(body_of(txn["id"], "transaction.failed"), "msg_other")
    sender.post(body_of(txn["id"], "transaction.processing"), "msg_late")
    assert apply() == {"noop": 2, "conflict": 1}
    assert state_of("msg_same") == state_of("msg_late") == "noop" and state_of("msg_other") == "conflict"
    assert row_of(txn).status == "succeeded" and row_of(txn).updated_at == before


def test_a_result_for_a_canceled_transaction_is_conflict_and_processing_is_noop(sender, txn, api):
    api.request("DELETE", f"transactions/{txn['id']}")
    sender.post(body_of(txn["id"], version=2), "msg_c")
    sender.post(body_of(txn["id"], "transaction.processing", version=2), "msg_p")
    apply()
    assert state_of("msg_c") == "conflict" and state_of("msg_p") == "noop"
    assert row_of(txn).status == "canceled"


def test_each_result_leaves_history_with_its_door(sender, txn, api):
    sender.post(body_of(txn["id"]), "msg_h")
    apply()
    entries = api.get(f"transactions/{txn['id']}/events").json()["data"]
    result = next(entry for entry in entries if entry["kind"] == "result")
    assert result["webhook_id"] == "msg_h" and result["state"] == "applied" and result["door"] == "webhook"
    change = [entry for entry in entries if entry["kind"] == "change"][-1]
    assert change["by"] == "consumer" and change["status"] == "succeeded" and change["version"] == 1


# --- applying fails


def test_a_result_that_cannot_be_applied_is_retried_and_ends_dead_with_its_error(sender, txn, monkeypatch, settings):
    settings.INBOX_MAX_ATTEMPTS = 2
    sender.post(body_of(txn["id"]), "msg_f")

    def explode(results):
        raise RuntimeError("boom")

    monkeypatch.setattr("webhooks.services.transactions.apply_results", explode)
    assert apply() == {"failed": 1} and state_of("msg_f") == "failed"
    InboxMessage.objects.update(due_at=row_of(txn).created_at)
    assert apply() == {"dead": 1}
    row = InboxMessage.objects.get()
    assert row.state == "dead" and "boom" in row.reason
    monkeypatch.undo()
    assert services.reapply([row.id]) == 1 and services.reapply([row.id]) == 0
    assert apply() == {"applied": 1}
    assert services.reapply([row.id]) == 0


def test_a_database_that_goes_away_while_applying_costs_no_attempt_and_leaves_nothing_half_done(
    sender, txn, monkeypatch
):
    sender.post(body_of(txn["id"]), "msg_d")

    def away(*args, **kwargs):
        raise OperationalError("server closed the connection")

    monkeypatch.setattr("webhooks.inbox.settle", away)
    with pytest.raises(OperationalError):
        apply()
    assert row_of(txn).status == "pending" and not HistoryEntry.objects.filter(kind="result").exists()


def test_a_worker_that_lost_its_lease_applies_nothing(sender, txn):
    sender.post(body_of(txn["id"]))
    (stale,) = inbox.claim(10)
    InboxMessage.objects.update(due_at=row_of(txn).created_at)
    (fresh,) = inbox.claim(10)
    with pytest.raises(inbox.LeaseLostError):
        services.apply_together([stale])
    assert row_of(txn).status == "pending"
    (settled,) = services.apply_together([fresh])
    assert settled.state == "applied" and row_of(txn).status == "succeeded"


def test_a_result_that_kills_its_worker_is_found_alone_and_ends_dead(sender, api, settings):
    settings.INBOX_MAX_ATTEMPTS = 6
    for number in range(8):
        sender.post(body_of(api.create().json()["id"]), f"msg_{number}")
    long_ago = Transaction.objects.order_by("id").first().created_at
    sizes = []
    for _ in range(5):
        sizes.append(len(inbox.claim(64)))  # the worker dies here, with its lease
        InboxMessage.objects.update(due_at=long_ago)
    assert sizes[0] == 8 and sizes[-1] == 1


@pytest.mark.wakeups
def test_the_broker_away_changes_nothing_for_the_sender(sender, txn, monkeypatch, django_capture_on_commit_callbacks):
    def explode():
        raise OSError("no broker")

    monkeypatch.setattr("webhooks.nudge.poke", explode)
    with django_capture_on_commit_callbacks() as callbacks:
        assert sender.post(body_of(txn["id"]), "msg_b").status_code == 202
    assert len(callbacks) == 1, "the nudge waits for the commit, and there is just one"
    assert apply() == {"applied": 1}


def test_the_database_away_is_503_with_retry_after(sender, txn, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("could not connect")

    monkeypatch.setattr("webhooks.receiving.inbox.record", away)
    answer = sender.post(body_of(txn["id"]))
    assert answer.status_code == 503 and int(answer["Retry-After"]) > 0


def test_over_the_rate_is_429_with_retry_after_and_only_after_the_signature(sender, txn, monkeypatch):
    monkeypatch.setattr("webhooks.views._bucket.take", lambda: 3)
    answer = sender.post(body_of(txn["id"]))
    assert answer.status_code == 429 and answer["Retry-After"] == "3"
    assert sender.post(body_of(txn["id"]), key=load_key(generate_secret())).status_code == 401


# --- receipts


def test_a_receipt_tells_what_became_of_a_delivery(sender, txn):
    sender.post(body_of(txn["id"]), "msg_r")
    apply()
    shown = sender.receipt("msg_r")
    assert shown.status_code == 200
    assert shown.json()["status"] == "applied" and shown.json()["deliveries"] == 1 and shown.json()["applied_at"]
    assert set(shown.json()) == {"webhook_id", "status", "reason", "deliveries", "received_at", "applied_at"}
    assert sender.receipt("msg_never").status_code == 404
    assert sender.receipt("msg_r", signed_id="msg_other").status_code == 401


# --- the queue door


def test_the_queue_door_has_the_same_rules_but_no_age(sender, txn, api):
    raw = body_of(txn["id"])
    old = int(time.time()) - 100_000
    headers = {"webhook-id": "msg_k", "webhook-timestamp": str(old), "webhook-signature": sign(KEY, "msg_k", old, raw)}
    receive_result.run(headers=headers, body=raw.decode())
    receive_result.run(headers=headers, body=raw.decode())
    assert InboxMessage.objects.get().deliveries == 2
    assert apply() == {"applied": 1}
    assert sender.post(raw, "msg_k").json() == {"status": "applied"}
    entries = api.get(f"transactions/{txn['id']}/events").json()["data"]
    assert next(entry for entry in entries if entry["kind"] == "result")["door"] == "queue"


@pytest.mark.parametrize(
    "arguments",
    [{}, {"headers": None, "body": None}, {"headers": [], "body": 3}, {"headers": {"webhook-id": 1}, "body": "x"}],
)
def test_the_queue_door_rejects_what_is_not_signed_and_leaves_no_row(arguments):
    from celery.exceptions import Reject

    with pytest.raises(Reject) as rejected:
        receive_result.run(**arguments)
    assert rejected.value.requeue is False
    assert not InboxMessage.objects.exists()
