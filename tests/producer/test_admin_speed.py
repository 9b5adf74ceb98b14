"""The admin's pages at length: at most ten queries each, no counts, no offsets, pages by key to the end and back."""

import re
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from django_celery_results.models import TaskResult
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.plugins.otp_totp.models import TOTPDevice

from outbox.ages import id_at
from outbox.models import ChannelState, OutboxMessage
from producer import dashboard, roles
from transactions.models import HistoryEntry, Transaction
from webhooks.models import InboxMessage, Refusal, ReusedWebhookId, WebhookKey

pytestmark = pytest.mark.django_db
LEDGERS = ["transactions_transaction", "transactions_historyentry", "outbox_outboxmessage", "webhooks_inboxmessage"]
QUERIES = [
    "",
    "state=dead",
    "state=pending",
    "state=published",
    "status=pending",
    "status=overdue",
    "age=1h",
    "age=older-1h",
    "error=x",
    "reason=x",
    "q=inv-3",
    "q=01a20583-e847-7c22-8c05-89ce43067642",
]


@pytest.fixture
def reader(db, settings):
    """The dearest visitor: no superuser, whose permissions cost two queries more, and with a second factor, one more."""
    roles.install(apps)
    settings.ADMIN_SECOND_FACTOR = True
    user = User.objects.create_user("reader", is_staff=True)
    user.groups.set(Group.objects.filter(name__in=[roles.OPERATOR, roles.SEES_FIGURES, roles.AUDITOR]))
    client = Client()
    client.force_login(user)
    device = TOTPDevice.objects.create(user=user, name="app", confirmed=True)
    session = client.session
    session[DEVICE_ID_SESSION_KEY] = device.persistent_id
    session.save()
    return client


@pytest.fixture
def many(api):
    """Three pages of each."""
    body = {"account_number": "ACC-1", "amount": "1.00", "currency": "EUR", "direction": "debit"}
    api.request(
        "POST",
        "transactions/batch",
        {"transactions": [{**body, "external_id": f"inv-{n}"} for n in range(130)]},
        Idempotency_Key="k",
    )
    for number, txn in enumerate(Transaction.objects.order_by("id")):
        InboxMessage.objects.create(
            webhook_id=f"msg_{number}",
            sha256=b"%d" % number,
            body=b"{}",
            key_id="k",
            sent_at=1,
            door="webhook",
            state="applied",
            transaction_id=txn.pk,
            reason="x",
            applied_at=timezone.now(),
        )
    OutboxMessage.objects.filter(sequence=1).update(error="x")


def opened(client, address, query=""):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        page = client.get(f"{address}?{query}")
    assert page.status_code == 200, (address, query, page.status_code)
    return page, [found["sql"] for found in captured]


def listed():
    """Each ledger with each query that it has a filter for."""
    for name in LEDGERS:
        filters = {getattr(entry, "parameter_name", "") for entry in admin.site._registry[model_of(name)].list_filter}
        for query in QUERIES:
            asked = query.partition("=")[0]
            if asked not in {"state", "status", "error", "reason"} or asked in filters:
                yield name, query


def model_of(name):
    return apps.get_model(*name.split("_"))


@pytest.mark.parametrize(("name", "query"), list(listed()))
def test_each_list_takes_ten_queries_and_counts_nothing(reader, many, name, query):
    _, statements = opened(reader, reverse(f"admin:{name}_changelist"), query)
    assert len(statements) <= 10, statements
    assert not any(re.search(r"count\(|\boffset\b", text, re.IGNORECASE) for text in statements), statements


@pytest.fixture
def one_of_each(many, reader):
    """A row in every table that the admin shows and `many` leaves empty; permissions by person and by role."""
    now = timezone.now()
    ChannelState.objects.create(name="broker", failing_since=now, reason="refused")
    Refusal.objects.create(name="webhook:signature-wrong", door="webhook", reason="signature-wrong", count=1)
    WebhookKey.objects.create(direction="result", kind="public", key_id="k")
    ReusedWebhookId.objects.create(first=InboxMessage.objects.order_by("id").first(), sha256=b"x", body=b"{}")
    # None that lets the reader edit people or roles: those who may only look have other pages.
    theirs = Permission.objects.filter(content_type__app_label="transactions")
    User.objects.get(username="reader").user_permissions.set(theirs)
    AccessAttempt.objects.create(username="x", ip_address="127.0.0.1", failures_since_start=1)
    TaskResult.objects.create(task_id="t", task_name="scheduler.relay", status="SUCCESS", result="{}")
    schedule = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(name="relay", task="scheduler.relay", interval=schedule)
    LogEntry.objects.create(user=User.objects.get(username="reader"), action_flag=2, change_message="x")


def test_every_page_of_every_model_takes_ten_queries(reader, one_of_each):
    pages = {}
    for model, shown in admin.site._registry.items():
        # A process asks for a content type once in its life.
        ContentType.objects.get_for_model(model)
        name, row = f"admin:{model._meta.app_label}_{model._meta.model_name}", model.objects.order_by("pk").first()
        addresses = [reverse(f"{name}_changelist")]
        if row is not None:
            addresses += [reverse(f"{name}_{page}", args=[row.pk]) for page in ("change", "history")]
            addresses += [shown.verb_url(verb, row) for verb in getattr(shown, "verbs", ())]
        for address in addresses:
            with CaptureQueriesContext(connection) as captured:
                if reader.get(address).status_code == 200:
                    pages[address] = [found["sql"] for found in captured]
    too_many = {address: statements for address, statements in pages.items() if len(statements) > 10}
    assert not too_many, too_many
    assert len(pages) > 50, sorted(pages)


@pytest.mark.parametrize("page", ["", *("dashboard/now", "dashboard/window/15", "dashboard/window/1440")])
def test_the_dashboard_takes_ten_queries_with_nothing_kept(reader, one_of_each, page, monkeypatch):
    for kept in (dashboard.now, *dashboard.windows.values()):
        monkeypatch.setattr(kept, "_taken", None)
    with CaptureQueriesContext(connection) as captured:
        answer = reader.get(f"/admin/{page}")
    assert answer.status_code == 200
    if page.endswith("now"):
        levels = {light["id"]: light["level"] for light in answer.json()["lights"]}
        assert (levels["results_refused"], levels["broker"]) == ("warn", "bad"), "the dearest case: something to tell"
    # A savepoint of the test's own transaction stands where a request has BEGIN.
    statements = [found["sql"] for found in captured if "SAVEPOINT" not in found["sql"]]
    assert len(statements) <= 10, statements


def test_every_choice_of_every_filter_opens(reader, many):
    opened_choices = 0
    for model in admin.site._registry:
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        page = reader.get(address)
        if page.status_code != 200:
            continue
        for spec in page.context["cl"].filter_specs:
            for choice in spec.choices(page.context["cl"]):
                if query := choice.get("query_string"):
                    opened(reader, address, query.removeprefix("?"))
                    opened_choices += 1
    assert opened_choices > 60


@pytest.mark.parametrize("model", [Transaction, HistoryEntry, OutboxMessage, InboxMessage])
def test_each_object_takes_ten_queries_with_all_its_neighbours(reader, many, model):
    row = model.objects.order_by("pk").first()
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk])
    # A process asks for a content type once in its life.
    ContentType.objects.get_for_model(model)
    page, statements = opened(reader, address)
    assert len(statements) <= 10, statements
    key = str(getattr(row, "transaction_id", None) or getattr(row, "key", None) or row.pk)
    event, result = OutboxMessage.objects.get(key=key), InboxMessage.objects.get(transaction_id=key)
    text = page.content.decode()
    for link in (
        reverse("admin:transactions_transaction_change", args=[key]),
        reverse("admin:outbox_outboxmessage_change", args=[event.pk]),
        reverse("admin:webhooks_inboxmessage_change", args=[result.pk]),
    ):
        assert link in text, link


@pytest.mark.parametrize(
    ("name", "query"), [*((name, "") for name in LEDGERS), ("outbox_outboxmessage", "state=pending")]
)
def test_the_pages_lead_to_the_last_row_and_back_without_a_gap_or_a_repeat(reader, many, name, query):
    model = model_of(name)
    address, seen, previous = reverse(f"admin:{name}_changelist"), [], None
    following = f"?{query}"
    while following:
        listing = reader.get(address + following).context["cl"]
        seen += [row.pk for row in listing.result_list]
        previous, following = listing.paginator.earlier, listing.paginator.later
    assert len(seen) == len(set(seen)) == model.objects.count() > 100
    back = [row.pk for row in listing.result_list]
    while previous:
        listing = reader.get(address + previous).context["cl"]
        back = [row.pk for row in listing.result_list] + back
        previous = listing.paginator.earlier
    assert back == seen


@pytest.mark.parametrize("cursor", ["", "x", "~", "01a20583", "' OR 1=1", "9" * 400, "%00", "2026-01-01~x"])
def test_a_cursor_that_nobody_handed_out_shows_the_first_page(reader, many, cursor):
    for name in LEDGERS:
        for query in ("", "&state=pending") if name == "outbox_outboxmessage" else ("",):
            answer = reader.get(f"{reverse(f'admin:{name}_changelist')}?after={cursor}{query}")
            assert answer.status_code == 200 and len(answer.context["cl"].result_list) == 50


def test_a_time_becomes_the_first_id_at_or_after_it(many):
    now = timezone.now()
    ids = list(InboxMessage.objects.order_by("id").values_list("id", flat=True))
    for place, pk in enumerate(ids):
        InboxMessage.objects.filter(pk=pk).update(received_at=now + timedelta(seconds=place * 2))
    InboxMessage.objects.filter(pk=ids[50]).delete()
    for place in (0, 1, 49, 77, 129):
        assert id_at(InboxMessage, "received_at", now + timedelta(seconds=place * 2)) == ids[place]
    between = id_at(InboxMessage, "received_at", now + timedelta(seconds=99))
    assert ids[49] < between <= ids[51]
    assert id_at(InboxMessage, "received_at", now - timedelta(days=1)) == ids[0]
    assert id_at(InboxMessage, "received_at", now + timedelta(days=1)) == ids[-1] + 1
    InboxMessage.objects.all().delete()
    assert id_at(InboxMessage, "received_at", now) is None


def test_overdue_transactions_come_oldest_first_whatever_their_client(reader, many, other_api):
    other_api.create({"account_number": "A", "amount": "1.00", "currency": "EUR", "direction": "debit"})
    chosen = list(Transaction.objects.order_by("id").values_list("pk", flat=True))[::40]
    newest = Transaction.objects.order_by("-id").first().pk
    Transaction.objects.filter(pk__in=[*chosen, newest]).update(overdue=True)
    listing = reader.get(reverse("admin:transactions_transaction_changelist"), {"status": "overdue"}).context["cl"]
    assert [row.pk for row in listing.result_list] == sorted({*chosen, newest})
