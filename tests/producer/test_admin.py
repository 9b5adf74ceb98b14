"""The admin: every page opens, ledgers are read-only, verbs ask for a reason, are audited once, and want their permission."""

import re
import threading

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.db import connection, connections
from django.test import Client
from django.urls import reverse

from outbox.models import ChannelState, OutboxMessage
from producer import roles
from transactions.models import ApiClient, ApiKey, HistoryEntry, Transaction
from webhooks import key_store
from webhooks.models import InboxMessage, WebhookKey

pytestmark = pytest.mark.django_db
REASON = "The queue is there again"


@pytest.fixture
def rows(api):
    api.create()
    message = OutboxMessage.objects.get()
    OutboxMessage.objects.filter(pk=message.pk).update(state="dead", error="NO_ROUTE")
    inbox = InboxMessage.objects.create(
        webhook_id="msg_1",
        sha256=b"x",
        body=b"\xffnot json",
        key_id="k",
        sent_at=1,
        door="webhook",
        state="quarantined",
    )
    return message, inbox


def person(name, *groups):
    roles.install(apps)
    user = User.objects.create_user(name, password="x" * 12, is_staff=True)
    user.groups.set(Group.objects.filter(name__in=groups))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator(db):
    return person("olga", roles.OPERATOR)


@pytest.fixture
def auditor(db):
    return person("anton", roles.AUDITOR)


def url(model, page="changelist", *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def ours():
    return [model for model in admin.site._registry if model._meta.app_label in {"outbox", "transactions", "webhooks"}]


def press(client, verb, *found, reason=REASON):
    """The confirmation page and the button on it, as a browser would."""
    model = type(found[0])
    page = client.get(url(model, "verb", verb), {"ids": [row.pk for row in found]})
    if page.status_code != 200:
        return page
    assert b"<textarea" in page.content and b"csrfmiddlewaretoken" in page.content
    return client.post(
        url(model, "verb", verb), {"ids": [row.pk for row in found], "confirmed": "yes", "reason": reason}, follow=True
    )


def told(row):
    return list(LogEntry.objects.filter(object_id=str(row.pk)).order_by("id").values_list("change_message", flat=True))


def test_every_page_of_ours_opens(admin_client, rows):
    key_store.add("consumer")
    ChannelState.objects.create(name="webhook", disabled=True)
    for model in ours():
        assert admin_client.get(url(model)).status_code == 200, model
        for row in model.objects.all()[:1]:
            assert admin_client.get(url(model, "change", row.pk)).status_code == 200, model


def test_no_list_breaks_by_what_somebody_types_into_the_address(admin_client, rows):
    for model in ours():
        for name in ("q", "error", "reason", "after", "before", "state", "status", "age"):
            for value in ("\0", "~", "x~y", "9" * 30):
                assert admin_client.get(url(model), {name: value}).status_code < 500, (model, name, value)


def test_times_are_told_to_the_second_and_sort_as_they_read(admin_client, rows):
    message, _ = rows
    written = message.created_at.strftime("%Y-%m-%d %H:%M:%S")
    for page in (url(OutboxMessage, "change", message.pk), url(HistoryEntry)):
        assert written in admin_client.get(page).content.decode(), page


def test_the_pages_of_other_packages_open_in_our_theme(admin_client):
    for model in admin.site._registry:
        page = admin_client.get(url(model))
        assert page.status_code == 200 and b"unfold/css/styles.css" in page.content, model


def test_no_script_of_the_admin_stands_in_a_page_or_comes_from_elsewhere(admin_client, client):
    for page in (admin_client.get("/admin/"), client.get("/admin/login/")):
        policy = dict(part.strip().split(" ", 1) for part in page["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self' 'unsafe-eval'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert not re.search(rb"<script(?![^>]*src=)(?![^>]*application/json)", page.content)
        assert not re.search(rb"(src|href)=[\"'](https?:)?//", page.content)
    assert "unsafe-eval" not in client.get("/").headers.get("Content-Security-Policy", "")


@pytest.mark.parametrize("model", [OutboxMessage, Transaction, HistoryEntry, InboxMessage, LogEntry], ids=str)
def test_a_ledger_cannot_be_edited_even_by_a_superuser(admin_client, rows, model):
    press(admin_client, "requeue", rows[0])
    row = model.objects.first()
    assert admin_client.get(url(model, "add")).status_code == 403
    assert admin_client.post(url(model, "change", row.pk), {"state": "published"}).status_code == 403
    assert admin_client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert "delete_selected" not in admin_client.get(url(model)).content.decode()


# --- verbs


def test_a_dead_event_is_requeued_once_and_the_log_says_who_why_before_and_after(operator, rows):
    message, _ = rows
    for _ in range(2):
        assert press(operator, "requeue", message).status_code == 200
    message.refresh_from_db()
    assert message.state == "pending" and message.attempts == 0
    (entry,) = told(message)
    assert REASON in entry and "state: dead → pending" in entry
    assert LogEntry.objects.get().user.username == "olga"


def test_a_verb_without_a_reason_changes_nothing_and_asks_again(operator, rows):
    message, _ = rows
    for reason in ("", "   ", "ok"):
        answer = press(operator, "requeue", message, reason=reason)
        assert answer.status_code == 200 and b"<textarea" in answer.content
    message.refresh_from_db()
    assert message.state == "dead" and not LogEntry.objects.exists()


def test_a_get_of_a_verb_changes_nothing(operator, rows):
    message, _ = rows
    operator.get(url(OutboxMessage, "verb", "requeue"), {"ids": message.pk, "confirmed": "yes", "reason": REASON})
    message.refresh_from_db()
    assert message.state == "dead"


def test_the_lists_action_leads_to_the_confirmation_and_never_takes_all_rows(operator, rows):
    message, _ = rows
    answer = operator.post(
        url(OutboxMessage), {"action": "requeue", "_selected_action": [message.pk], "select_across": "1"}
    )
    assert (
        answer.status_code == 302 and "/verb/requeue/" in answer["Location"] and str(message.pk) in answer["Location"]
    )
    message.refresh_from_db()
    assert message.state == "dead"


def test_a_verb_leads_back_to_our_own_pages_only(operator, rows):
    message, _ = rows
    posted = {"ids": message.pk, "confirmed": "yes", "reason": REASON, "next": "https://evil.example/"}
    assert operator.post(url(OutboxMessage, "verb", "requeue"), posted)["Location"] == url(OutboxMessage)


def test_an_event_is_discarded_with_name_and_reason_and_requeue_takes_it_back(operator, rows):
    message, _ = rows
    press(operator, "discard", message)
    message.refresh_from_db()
    assert message.discarded and f"Discarded by olga: {REASON}" in message.error
    press(operator, "requeue", message)
    message.refresh_from_db()
    assert message.state == "pending" and not message.discarded and len(told(message)) == 2


def test_requeue_of_several_leaves_discarded_ones_alone_and_says_which_they_are(operator, rows):
    message, _ = rows
    fraud = OutboxMessage.objects.create(
        topic="transactions", type="x", key="k", sequence=1, body="{}", state="dead", discarded=True, error="fraud"
    )
    both, page = {"ids": [message.pk, fraud.pk]}, url(OutboxMessage, "verb", "requeue")
    assert operator.get(page, both).content.decode().count("state dead, discarded") == 1
    answer = operator.post(page, {**both, "confirmed": "yes", "reason": REASON}, follow=True)
    assert "1 of 2 changed" in answer.content.decode()
    message.refresh_from_db()
    fraud.refresh_from_db()
    assert (message.state, fraud.state, fraud.error) == ("pending", "dead", "fraud")


def test_reapply_of_several_leaves_discarded_results_alone_and_says_which_they_are(operator, rows):
    _, inbox = rows
    fraud = InboxMessage.objects.create(
        webhook_id="fraud", sha256=b"x", body=b"{}", key_id="k", sent_at=1, door="webhook", state="dead", discarded=True
    )
    both, page = {"ids": [inbox.pk, fraud.pk]}, url(InboxMessage, "verb", "reapply")
    assert operator.get(page, both).content.decode().count("state dead, discarded") == 1
    answer = operator.post(page, {**both, "confirmed": "yes", "reason": REASON}, follow=True)
    assert "1 of 2 changed" in answer.content.decode()
    inbox.refresh_from_db()
    fraud.refresh_from_db()
    assert (inbox.state, fraud.state) == ("received", "dead")
    press(operator, "reapply", fraud)
    fraud.refresh_from_db()
    assert (fraud.state, fraud.discarded) == ("received", False)


def test_a_quarantined_result_is_reapplied_and_discarded(operator, rows):
    _, inbox = rows
    press(operator, "reapply", inbox)
    inbox.refresh_from_db()
    assert inbox.state == "received"
    press(operator, "discard", inbox)
    inbox.refresh_from_db()
    assert inbox.state == "dead" and inbox.discarded and REASON in inbox.reason
    assert [("quarantined → received" in text, "received → dead" in text) for text in told(inbox)] == [
        (True, False),
        (False, True),
    ]


def test_a_pending_transaction_is_canceled_with_history_and_event_by_operator(operator, rows, api):
    txn = Transaction.objects.get()
    for _ in range(2):
        press(operator, "cancel", txn)
    txn.refresh_from_db()
    assert txn.status == "canceled" and txn.version == 2
    assert list(txn.history.values_list("by", "status")) == [("client", "pending"), ("operator", "canceled")]
    assert OutboxMessage.objects.filter(type="transaction.canceled").count() == 1
    assert len(told(txn)) == 1


def test_the_newest_event_of_a_transaction_is_sent_again(operator, rows):
    message, _ = rows
    txn = Transaction.objects.get()
    for _ in range(2):
        press(operator, "resend", txn)
    message.refresh_from_db()
    assert message.state == "pending"
    (entry,) = told(txn)
    assert str(message.pk) in entry


def test_a_disabled_channel_is_enabled(operator):
    channel = ChannelState.objects.create(name="webhook", disabled=True, reason="410 Gone")
    press(operator, "enable", channel)
    channel.refresh_from_db()
    assert not channel.disabled and "disabled: True → False" in told(channel)[0]


def test_a_key_is_revoked_and_fails_at_once(operator, api):
    press(operator, "revoke", ApiKey.objects.get())
    assert api.get("transactions").status_code == 401


def test_a_deactivated_client_is_refused_until_it_is_activated(operator, api):
    client = ApiClient.objects.get()
    press(operator, "deactivate", client)
    assert api.get("transactions").status_code == 401
    press(operator, "activate", client)
    assert api.get("transactions").status_code == 200


def test_a_new_key_works_is_shown_once_and_stands_in_no_log_or_session(operator, api):
    page = press(operator, "newkey", ApiClient.objects.get())
    key = re.search(r"pk_[\w-]{43}", page.content.decode())[0]
    assert "no-store" in page["Cache-Control"]
    api.key = key
    assert api.get("transactions").status_code == 200
    assert key not in operator.get(url(ApiClient)).content.decode()
    (entry,) = told(ApiClient.objects.get())
    assert key not in entry and key[:10] in entry and key not in str(dict(operator.session))


def test_a_webhook_key_is_rotated_once_with_an_overlap_and_the_last_is_not_retired(operator, settings):
    settings.CONSUMER_WEBHOOK_SECRETS = []
    row = key_store.add("consumer").row
    page = press(operator, "rotate", row)
    assert b"whsec_" in page.content and "no-store" in page["Cache-Control"]
    press(operator, "rotate", row)
    assert WebhookKey.objects.count() == 2
    old, new = WebhookKey.objects.order_by("id")
    assert old.retire_at and not new.retire_at
    press(operator, "retire", old)
    assert b"Rotate first" in press(operator, "retire", new).content
    new.refresh_from_db()
    assert new.retire_at is None


@pytest.mark.parametrize("verb", ["requeue", "discard"])
def test_a_verb_wants_its_own_permission(client, rows, verb):
    message, _ = rows
    other = {"requeue": "discard", "discard": "requeue"}[verb]
    viewer = person("vera")
    user = User.objects.get(username="vera")
    codes = ["view_outboxmessage", f"{other}_outboxmessage"]
    user.user_permissions.set(roles_permissions(codes))
    page = viewer.get(url(OutboxMessage, "change", message.pk)).content.decode()
    assert f"/verb/{other}/" in page and f"/verb/{verb}/" not in page
    assert press(viewer, verb, message).status_code == 403
    answer = viewer.post(url(OutboxMessage, "verb", verb), {"ids": message.pk, "confirmed": "yes", "reason": REASON})
    assert answer.status_code == 403
    message.refresh_from_db()
    assert message.state == "dead" and not message.discarded


def roles_permissions(codes):
    from django.contrib.auth.models import Permission

    found = Permission.objects.filter(codename__in=codes)
    assert found.count() == len(codes)
    return found


def test_an_auditor_sees_everything_and_may_press_nothing(auditor, rows):
    for model in ours():
        assert auditor.get(url(model)).status_code == 200, model
        for row in model.objects.all()[:1]:
            page = auditor.get(url(model, "change", row.pk))
            assert page.status_code == 200 and b"/verb/" not in page.content, model
    assert press(auditor, "requeue", rows[0]).status_code == 403


def test_an_operator_may_not_look_into_users(operator):
    assert operator.get(url(User)).status_code == 403


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_browsers_at_once_change_a_row_once_and_log_it_once(api, rows):
    message, _ = rows
    people = [person(name, roles.OPERATOR) for name in ("one", "two")]
    start, answers = threading.Barrier(2), []

    def go(client):
        start.wait()
        answers.append(press(client, "requeue", message).content.decode())
        connections.close_all()

    threads = [threading.Thread(target=go, args=(client,)) for client in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told(message)) == 1
    assert sorted("1 of 1 changed" in text for text in answers) == [False, True]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_row_that_somebody_holds_is_said_to_be_busy_and_nothing_changes(api, rows):
    message, _ = rows
    operator = person("olga", roles.OPERATOR)
    import psycopg2

    holder = psycopg2.connect(dsn())
    try:
        holder.cursor().execute("SELECT 1 FROM outbox_outboxmessage WHERE id = %s FOR UPDATE", [str(message.pk)])
        page = press(operator, "requeue", message)
    finally:
        holder.close()
    assert page.status_code == 200 and b"Busy" in page.content
    message.refresh_from_db()
    assert message.state == "dead" and not told(message)


def dsn():
    found = connection.get_connection_params()
    return " ".join(f"{name}={found[name]}" for name in ("dbname", "user", "host", "port") if found.get(name))
