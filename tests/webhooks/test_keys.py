"""Stored keys: sealed, beside those from settings, in time without a query per delivery; their command, page and JSON."""

import json
import re
import time
import uuid
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from outbox.clock import database_now
from producer.checks import each_direction_has_a_key
from tests.settings import TEST_SECRET
from tests.stack import ROOT
from webhooks import key_store, keys
from webhooks.management.commands.webhook_keys import MIN_OVERLAP
from webhooks.models import InboxMessage, WebhookKey
from webhooks.rate import TokenBucket
from webhooks.signing import generate_secret, generate_signing_pair, load_key, sign

pytestmark = pytest.mark.django_db

PAGE = "/.well-known/webhook-keys"


@pytest.fixture(autouse=True)
def fresh(db, monkeypatch):
    # Other tests' forgeries must not use up the looks of these.
    monkeypatch.setattr(keys, "_looks", TokenBucket(keys.LOOKS_PER_SECOND, keys.LOOKS_AT_ONCE))
    keys.forget()
    yield
    keys.forget()


def send(client, secret, body=b"{}", webhook_id=None):
    webhook_id, now = webhook_id or uuid.uuid4().hex, int(time.time())
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(now)}
    headers["webhook-signature"] = sign(load_key(secret), webhook_id, now, body)
    client.raise_request_exception = False
    url = "/api/v1/webhooks/results"
    return client.post(url, body, content_type="application/json", headers=headers).status_code


def run(capsys, *arguments):
    call_command("webhook_keys", *arguments)
    return capsys.readouterr().out.strip()


def move(row, **shifts):
    now = database_now()
    WebhookKey.objects.filter(id=row.id).update(**{name: now + shift for name, shift in shifts.items()})


# --- Which keys are active


def test_stored_keys_are_active_beside_those_from_settings_and_nothing_changes_for_these(client):
    made = key_store.add("result")
    assert send(client, made.hand_out) == 202 and send(client, TEST_SECRET) == 202
    assert [key.key_id for key in keys.result_keys()] == [load_key(TEST_SECRET).key_id, made.row.key_id]
    assert [key.key_id for key in keys.consumer_keys()] == [load_key(TEST_SECRET).key_id]


def test_a_key_that_is_in_both_places_signs_once(settings):
    made = key_store.add("consumer")
    settings.CONSUMER_WEBHOOK_SECRETS = [made.hand_out]
    assert len(keys.consumer_keys()) == 1


def test_an_ed25519_consumer_is_known_by_its_public_key_alone(client):
    private, public = generate_signing_pair()
    assert send(client, private) == 401
    made = key_store.add("result", public=public)
    assert made.row.sealed is None and send(client, private) == 202
    assert InboxMessage.objects.get().key_id == made.row.key_id


def test_every_active_key_signs_what_goes_to_the_consumer(settings):
    settings.CONSUMER_WEBHOOK_SECRETS = []
    first, second = key_store.add("consumer"), key_store.add("consumer", ed25519=True)
    key_store.add("result")
    signature = sign(keys.consumer_keys(), "evt_1", 1, b"{}")
    assert [entry.partition(",")[0] for entry in signature.split(" ")] == ["v1", "v1a"]
    assert {key.key_id for key in keys.consumer_keys()} == {first.row.key_id, second.row.key_id}


def test_a_key_starts_and_ends_on_time_although_the_picture_is_older(client, monkeypatch):
    made = key_store.add("result")
    move(made.row, not_before=timedelta(seconds=100), retire_at=timedelta(seconds=200))
    real = time.time()
    active = []
    for later in (0, 90, 110, 190, 210):
        monkeypatch.setattr("webhooks.keys.time.time", lambda later=later: real + later)
        active.append(made.row.key_id in {key.key_id for key in keys.result_keys()})
    assert active == [False, False, True, True, False]


def test_a_new_key_is_active_on_a_host_whose_clock_is_behind_the_databases(client, monkeypatch):
    made = key_store.add("result")
    real = time.time()
    monkeypatch.setattr("time.time", lambda: real - 30)
    assert send(client, made.hand_out) == 202


def test_a_key_made_by_another_process_is_accepted_at_once(client):
    assert send(client, TEST_SECRET) == 202
    made = key_store.add("result")
    assert send(client, made.hand_out) == 202


def test_a_key_retired_by_another_process_is_refused_after_the_cache_and_not_before(client, monkeypatch):
    made = key_store.add("result")
    assert send(client, made.hand_out) == 202
    key_store.retire([made.row.id])
    assert send(client, made.hand_out) == 202
    real = time.monotonic()
    monkeypatch.setattr("webhooks.keys.time.monotonic", lambda: real + keys.CACHE_SECONDS + 0.1)
    assert send(client, made.hand_out) == 401


# --- What it costs


def key_queries(captured):
    return [query["sql"] for query in captured if "webhooks_webhookkey" in query["sql"]]


def test_a_delivery_costs_no_query_about_keys_but_the_first(client):
    made = key_store.add("result")
    send(client, made.hand_out)
    with CaptureQueriesContext(connection) as captured:
        for _ in range(3):
            assert send(client, made.hand_out) == 202
    assert captured.captured_queries and key_queries(captured.captured_queries) == []


def test_forged_deliveries_cost_a_bounded_number_of_queries(client):
    key_store.add("result")
    with CaptureQueriesContext(connection) as captured:
        for _ in range(40):
            assert send(client, generate_secret()) == 401
    assert 1 <= len(key_queries(captured.captured_queries)) < 40


def test_the_use_of_a_key_is_written_to_the_minute_and_once_in_it(client, monkeypatch):
    made = key_store.add("result")
    start = (time.time() // 60 + 1) * 60
    written = []
    for moment in (start + 10, start + 50, start + 70):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        with CaptureQueriesContext(connection) as captured:
            assert send(client, made.hand_out) == 202
        written.append(len([sql for sql in key_queries(captured.captured_queries) if sql.startswith("UPDATE")]))
    assert written == [1, 0, 1]
    made.row.refresh_from_db()
    assert made.row.last_used_at.timestamp() == start + 60
    assert key_store.note_use("result", made.row.key_id, int(start // 60)) == 0, "an earlier minute never overwrites"


def test_a_use_that_cannot_be_written_costs_no_delivery(client, monkeypatch):
    made = key_store.add("result")
    monkeypatch.setattr("webhooks.key_store.note_use", away)
    assert send(client, made.hand_out) == 202


# --- The database away


def away(*arguments):
    raise OperationalError("could not connect")


def test_without_the_database_the_keys_from_settings_go_on(monkeypatch):
    monkeypatch.setattr("webhooks.key_store.read", away)
    assert [key.key_id for key in keys.result_keys()] == [load_key(TEST_SECRET).key_id]
    assert [key.key_id for key in keys.consumer_keys()] == [load_key(TEST_SECRET).key_id]


def test_without_the_database_what_was_known_stays_known(client, monkeypatch):
    made = key_store.add("result")
    assert send(client, made.hand_out) == 202
    monkeypatch.setattr("webhooks.key_store.read", away)
    real = time.monotonic()
    monkeypatch.setattr("webhooks.keys.time.monotonic", lambda: real + 60)
    assert send(client, made.hand_out) == 202


def test_while_the_keys_were_never_read_an_unknown_signature_is_503_and_not_a_final_401(client, monkeypatch):
    made = key_store.add("result")
    monkeypatch.setattr("webhooks.key_store.read", away)
    assert send(client, made.hand_out) == 503
    assert client.get(PAGE).status_code == 503, "an empty list would make a Consumer drop good keys"


# --- How they lie in the database


def test_a_secret_is_sealed_and_opens_with_this_secret_key_only(settings):
    made = key_store.add("result")
    row = WebhookKey.objects.get()
    raw = load_key(made.hand_out).secret
    assert raw not in bytes(row.sealed) and made.hand_out.encode() not in bytes(row.sealed)
    assert key_store.open_sealed(row) == made.hand_out
    settings.SECRET_KEY = "another"
    assert key_store.read() == ()
    assert [key.key_id for key in keys.result_keys()] == [load_key(TEST_SECRET).key_id]


def test_a_fallback_of_the_secret_key_opens_and_reseal_makes_it_superfluous(settings, capsys, client):
    made = key_store.add("result")
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
    assert send(client, made.hand_out) == 202
    assert run(capsys, "reseal") == "reseal: 1 keys changed"
    settings.SECRET_KEY_FALLBACKS = []
    assert send(client, made.hand_out) == 202


@pytest.mark.parametrize(
    "fields",
    [
        {"direction": "result", "kind": "signing", "sealed": b"x"},
        {"direction": "consumer", "kind": "public", "sealed": None},
        {"direction": "result", "kind": "shared", "sealed": None},
        {"direction": "result", "kind": "public", "sealed": b"x"},
    ],
    ids=str,
)
def test_the_database_refuses_a_key_in_the_wrong_hands(fields):
    with pytest.raises(IntegrityError), transaction.atomic():
        WebhookKey.objects.create(key_id="k", **fields)


# --- manage.py webhook_keys


def test_a_rotation_adds_a_key_ends_the_old_after_the_overlap_and_shows_the_secret_once(capsys, client):
    first = run(capsys, "add", "--direction", "result", "--note", "pilot").splitlines()[-1]
    before = database_now()
    second = run(capsys, "rotate", "--direction", "result", "--overlap", "24h").splitlines()[-1]
    old = WebhookKey.objects.get(key_id=load_key(first).key_id)
    assert timedelta(hours=24) <= old.retire_at - before < timedelta(hours=24, minutes=1)
    assert send(client, first) == 202 and send(client, second) == 202
    listed = run(capsys, "list")
    assert "pilot" in listed and "until" in listed and "settings" in listed
    for secret in (first, second, TEST_SECRET):
        assert secret not in listed and secret.removeprefix("whsec_") not in listed
    move(old, retire_at=timedelta(seconds=-1))
    keys.forget()
    assert send(client, first) == 401 and send(client, second) == 202


def test_an_end_that_comes_before_the_overlap_stays():
    made = key_store.add("result")
    key_store.retire([made.row.id], timedelta(minutes=5))
    end = WebhookKey.objects.get().retire_at
    assert key_store.rotate("result", timedelta(hours=1))[1] == []
    made.row.refresh_from_db()
    assert made.row.retire_at == end


def test_a_pair_of_ours_prints_the_public_half_and_keeps_the_private_one(capsys):
    shown = run(capsys, "add", "--direction", "consumer", "--ed25519")
    row = WebhookKey.objects.get()
    assert shown.splitlines()[-1] == row.public and "whsk_" not in shown
    assert key_store.open_sealed(row).startswith("whsk_")


def test_retire_wants_another_key_to_be_left_unless_forced_and_is_safe_to_run_twice(capsys, settings):
    settings.RESULT_WEBHOOK_SECRETS = []
    key_id = key_store.add("result").row.key_id
    with pytest.raises(CommandError, match="leaves no key for: result"):
        call_command("webhook_keys", "retire", key_id)
    assert keys.has_active("result")
    assert run(capsys, "retire", key_id, "--force") == "retire: 1 of 1 keys changed"
    assert run(capsys, "retire", key_id, "--force") == "retire: 0 of 1 keys changed"
    assert not keys.has_active("result")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rotate", "--direction", "result", "--overlap", "5s"], "less than 1m"),
        (["rotate", "--direction", "result", "--overlap", "soon"], "no duration"),
        (["add", "--direction", "result", "--ed25519"], "--public"),
        (["add", "--direction", "consumer", "--public", generate_signing_pair()[1]], "makes its own"),
        (["add", "--direction", "result", "--public", generate_signing_pair()[0]], "not a public key"),
        (["add", "--direction", "result", "--public", "whpk_AAAA"], "32 bytes"),
        (["retire", "ffffffff"], "Not in the database"),
    ],
)
def test_a_request_that_makes_no_sense_fails_with_what_to_do_and_changes_nothing(arguments, words):
    with pytest.raises(CommandError, match=words):
        call_command("webhook_keys", *arguments)
    assert not WebhookKey.objects.exists()


# --- The admin


def press(client, action, *rows):
    url = reverse("admin:webhooks_webhookkey_verb", args=[action])
    form = {"ids": [row.id for row in rows], "confirmed": "1", "reason": "a rehearsal of the rotation"}
    return client.post(url, form, follow=True)


def test_the_admin_shows_no_secret_and_cannot_edit(admin_client):
    made = key_store.add("result")
    sealed = bytes(made.row.sealed).decode()
    pages = [reverse("admin:webhooks_webhookkey_changelist")]
    pages.append(reverse("admin:webhooks_webhookkey_change", args=[made.row.id]))
    for page in pages:
        shown = admin_client.get(page).content.decode()
        assert made.row.key_id in shown and made.hand_out not in shown and sealed not in shown
    assert admin_client.get(reverse("admin:webhooks_webhookkey_add")).status_code == 403
    assert admin_client.post(pages[1], {"note": "x"}).status_code == 403


def test_the_admin_rotates_shows_the_secret_in_one_answer_and_leaves_an_audit(admin_client, client):
    old = key_store.add("result").row
    answer = press(admin_client, "rotate", old)
    new = WebhookKey.objects.exclude(id=old.id).get()
    secret = key_store.open_sealed(new)
    assert "no-store" in answer["Cache-Control"] and secret in answer.content.decode().replace("&#x2B;", "+")
    old.refresh_from_db()
    assert old.retire_at is not None and send(client, secret) == 202
    entry = LogEntry.objects.get()
    assert int(entry.object_id) == old.id and new.key_id in entry.change_message
    assert not any(secret in str(entry.change_message) for entry in LogEntry.objects.all())
    assert secret not in admin_client.get(reverse("admin:webhooks_webhookkey_changelist")).content.decode()


@pytest.mark.django_db(transaction=True)
def test_the_admin_retires_but_never_the_last_key(admin_client, settings):
    settings.RESULT_WEBHOOK_SECRETS = []
    first = key_store.add("result").row
    press(admin_client, "retire", first)
    assert keys.has_active("result")
    second = key_store.add("result").row
    press(admin_client, "retire", first)
    assert [key.key_id for key in keys.result_keys()] == [second.key_id]
    assert LogEntry.objects.filter(object_id=str(first.id)).exists()


@pytest.mark.parametrize("action", ["rotate", "retire"])
def test_the_verbs_want_their_permission(client, action):
    row = key_store.add("result").row
    viewer = User.objects.create_user("viewer", password="x" * 12, is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_webhookkey"))
    client.force_login(viewer)
    press(client, action, row)
    assert WebhookKey.objects.count() == 1 and WebhookKey.objects.get().retire_at is None


# --- What is published, and what is checked


def test_only_our_public_keys_are_published_with_their_times(client):
    made = key_store.add("consumer", ed25519=True)
    key_store.add("consumer"), key_store.add("result")
    key_store.add("result", public=generate_signing_pair()[1])
    gone, coming = key_store.add("consumer", ed25519=True).row, key_store.add("consumer", ed25519=True).row
    move(gone, retire_at=timedelta(seconds=-1))
    move(coming, not_before=timedelta(hours=1), retire_at=timedelta(hours=2))
    answer = client.get(PAGE)
    shown = {key["key_id"]: key for key in answer.json()["keys"]}
    assert set(shown) == {made.row.key_id, coming.key_id} and "max-age" in answer["Cache-Control"]
    own = shown[made.row.key_id]
    assert own["public_key"] == made.hand_out and own["algorithm"] == "ed25519" and own["retire_at"] is None
    assert shown[coming.key_id]["retire_at"].endswith("Z")
    text = json.dumps(answer.json())
    assert "whsec_" not in text and "whsk_" not in text


def test_a_consumer_that_keeps_the_page_as_long_as_it_may_knows_a_new_key_before_the_old_one_ends(client):
    (seconds,) = re.findall(r"max-age=(\d+)", client.get(PAGE)["Cache-Control"])
    assert int(seconds) + keys.CACHE_SECONDS < MIN_OVERLAP.total_seconds()
    assert f"({seconds} seconds;" in (ROOT / "docs" / "consumers.md").read_text()


def test_a_signing_key_from_settings_is_published_too(client, settings):
    private, public = generate_signing_pair()
    settings.CONSUMER_WEBHOOK_SECRETS = [TEST_SECRET, private]
    [key] = client.get(PAGE).json()["keys"]
    assert key["public_key"] == public and key["not_before"] is None and key["retire_at"] is None


def test_the_published_keys_are_read_only(client):
    answer = client.post(PAGE)
    assert answer.status_code == 405 and answer["Allow"] == "GET, HEAD"


def test_the_check_warns_of_a_direction_without_any_active_key(settings):
    assert each_direction_has_a_key(None) == []
    settings.RESULT_WEBHOOK_SECRETS = []
    [warning] = each_direction_has_a_key(None)
    assert warning.id == "producer.W001" and "RESULT_WEBHOOK_SECRETS" in warning.msg
    key_store.add("result")
    keys.forget()
    assert each_direction_has_a_key(None) == []
