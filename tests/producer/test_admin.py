"""The admin: every page opens, ledgers are read-only, verbs work, are audited, and want their permission."""

import re

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from outbox.models import OutboxMessage
from transactions.models import ApiKey
from webhooks.models import InboxMessage

pytestmark = pytest.mark.django_db


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


def ours():
    return [model for model in admin.site._registry if model._meta.app_label in {"outbox", "transactions", "webhooks"}]


def test_every_page_of_ours_opens(admin_client, rows):
    for model in ours():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        assert admin_client.get(reverse(f"{name}_changelist")).status_code == 200, name
        for row in model.objects.all()[:1]:
            assert admin_client.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200, name


def test_the_pages_of_other_packages_open_in_our_theme(admin_client):
    for model in admin.site._registry:
        page = admin_client.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))
        assert page.status_code == 200 and b"unfold/css/styles.css" in page.content, model


def test_no_script_of_the_admin_stands_in_a_page_or_comes_from_elsewhere(admin_client, client):
    for page in (admin_client.get("/admin/"), client.get("/admin/login/")):
        policy = dict(part.strip().split(" ", 1) for part in page["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self' 'unsafe-eval'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert not re.search(rb"<script(?![^>]*src=)(?![^>]*application/json)", page.content)
        assert not re.search(rb"(src|href)=[\"'](https?:)?//", page.content)
    assert "unsafe-eval" not in client.get("/").headers.get("Content-Security-Policy", "")


def test_a_ledger_cannot_be_edited(admin_client, rows):
    message, _ = rows
    assert admin_client.get(reverse("admin:outbox_outboxmessage_add")).status_code == 403
    assert (
        admin_client.post(
            reverse("admin:outbox_outboxmessage_change", args=[message.pk]), {"state": "published"}
        ).status_code
        == 403
    )
    assert (
        admin_client.post(reverse("admin:outbox_outboxmessage_delete", args=[message.pk]), {"post": "yes"}).status_code
        == 403
    )


def press(client, model, action, row):
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return client.post(url, {"action": action, "_selected_action": [row.pk]}, follow=True)


def test_a_dead_event_is_requeued_and_the_press_is_audited(admin_client, rows):
    message, _ = rows
    for _ in range(2):
        assert press(admin_client, OutboxMessage, "requeue", message).status_code == 200
    message.refresh_from_db()
    assert message.state == "pending" and message.attempts == 0
    assert LogEntry.objects.filter(object_id=str(message.pk)).exists()


def test_a_quarantined_result_is_reapplied_and_the_press_is_audited(admin_client, rows):
    _, inbox = rows
    press(admin_client, InboxMessage, "reapply", inbox)
    inbox.refresh_from_db()
    assert inbox.state == "received"
    assert LogEntry.objects.filter(object_id=str(inbox.pk)).exists()


def test_a_key_is_revoked_and_fails_at_once(admin_client, api):
    press(admin_client, ApiKey, "revoke", ApiKey.objects.get())
    assert api.get("transactions").status_code == 401


def test_the_verbs_want_their_permission(client, rows):
    message, _ = rows
    viewer = User.objects.create_user("viewer", password="x" * 12, is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_outboxmessage"))
    client.force_login(viewer)
    press(client, OutboxMessage, "requeue", message)
    message.refresh_from_db()
    assert message.state == "dead"
