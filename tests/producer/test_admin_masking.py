"""Amounts and account numbers are dots for whoever may not see them: on every page, in every body, in every search."""

import json
import time

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django_celery_results.models import TaskResult

from outbox import masking
from outbox.models import OutboxMessage
from producer import roles
from tests.conftest import new_transaction
from transactions.models import Transaction
from webhooks.models import InboxMessage, ReusedWebhookId
from webhooks.services import apply_due

pytestmark = pytest.mark.django_db
ACCOUNT, AMOUNT, FEE, SECRET = "DE89370400440532013000", "98765.43", "1234.56", "the-lonely-note"


def person(role):
    roles.install(apps)
    user = User.objects.create_user(role, is_staff=True)
    user.groups.set([Group.objects.get(name=role)])
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def everything(api):
    """One transaction whose figures stand wherever figures can stand."""
    made = api.create(
        new_transaction(
            account_number=ACCOUNT,
            amount=AMOUNT,
            external_id="inv-1",
            description=f"{SECRET} {ACCOUNT}",
            metadata={"note": SECRET, "iban": ACCOUNT},
        )
    ).json()
    data = {"transaction_id": made["id"], "transaction_version": 1}
    for number, (kind, more) in enumerate(
        [
            ("transaction.succeeded", {"processed_data": {"account": ACCOUNT, "fee": FEE, "deep": [{"x": SECRET}]}}),
            ("transaction.failed", {"error": {"code": "no_funds", "message": f"{ACCOUNT} lacks {AMOUNT} {SECRET}"}}),
        ]
    ):
        body = json.dumps({"type": kind, "timestamp": "2026-11-22T10:15:00Z", "data": {**data, **more}, "x": SECRET})
        row = InboxMessage.objects.create(
            webhook_id=f"msg_{number}",
            sha256=b"%d" % number,
            body=body.encode(),
            key_id="k",
            sent_at=int(time.time()),
            door="webhook",
            state="received",
            transaction_id=made["id"],
        )
    apply_due(budget_seconds=10)
    InboxMessage.objects.create(
        webhook_id="msg_q",
        sha256=b"q",
        body=f"no json {ACCOUNT} {AMOUNT} {SECRET}".encode(),
        key_id="k",
        sent_at=1,
        door="webhook",
        state="quarantined",
        reason=f"DataError: Failing row contains ({ACCOUNT}, {AMOUNT}).",
    )
    ReusedWebhookId.objects.create(first=row, sha256=b"r", body=f'{{"a": "{SECRET}", "b": "{ACCOUNT}"}}'.encode())
    OutboxMessage.objects.update(state="dead", error=f"Refused {ACCOUNT}: {AMOUNT}")
    TaskResult.objects.create(
        task_id="t1",
        task_name="webhooks.apply_results",
        status="FAILURE",
        task_kwargs=f"{{'body': '{ACCOUNT} {AMOUNT}'}}",
        result=f"DataError {ACCOUNT} {AMOUNT}",
        traceback=f"Traceback\n  {SECRET}\nDataError: {ACCOUNT} {AMOUNT}",
    )
    return Transaction.objects.get()


def pages(client):
    """Every list, every object and every object's log."""
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        addresses = [reverse(f"{name}_changelist")]
        for row in model.objects.all()[:5]:
            addresses += [reverse(f"{name}_{page}", args=[row.pk]) for page in ("change", "history")]
        for address in addresses:
            page = client.get(address)
            if page.status_code == 200:
                yield address, page.content.decode()


def test_an_operator_sees_no_figure_on_any_page(everything):
    seen = dict(pages(person(roles.OPERATOR)))
    assert len(seen) > 25
    for address, text in seen.items():
        for figure in (ACCOUNT, AMOUNT, FEE, SECRET):
            assert figure not in text, (figure, address)
    txn = seen[reverse("admin:transactions_transaction_change", args=[everything.pk])]
    assert f"{masking.MASK}3000" in txn and f"{masking.MASK} EUR" in txn and "no_funds" not in txn


def test_an_auditor_sees_them_all(everything):
    seen = dict(pages(person(roles.AUDITOR)))
    txn = seen[reverse("admin:transactions_transaction_change", args=[everything.pk])]
    assert all(figure in txn for figure in (ACCOUNT, AMOUNT, FEE, SECRET))
    quarantined = InboxMessage.objects.get(webhook_id="msg_q")
    assert f"no json {ACCOUNT}" in seen[reverse("admin:webhooks_inboxmessage_change", args=[quarantined.pk])]
    event = OutboxMessage.objects.get()
    assert AMOUNT in seen[reverse("admin:outbox_outboxmessage_change", args=[event.pk])]


def test_the_permission_can_be_given_beside_a_role(everything):
    client = person(roles.OPERATOR)
    User.objects.get(username=roles.OPERATOR).groups.add(Group.objects.get(name=roles.SEES_FIGURES))
    assert ACCOUNT in client.get(reverse("admin:transactions_transaction_changelist")).content.decode()


@pytest.mark.parametrize(
    "page", ["transactions_transaction", "transactions_historyentry", "outbox_outboxmessage", "webhooks_inboxmessage"]
)
def test_an_account_finds_its_transactions_only_for_who_may_see_it(everything, page):
    address = reverse(f"admin:{page}_changelist")
    for role, finds in ((roles.OPERATOR, False), (roles.AUDITOR, True)):
        client = person(role)
        for term, expected in (
            (ACCOUNT, finds),
            ("inv-1", True),
            (str(everything.pk), True),
            ("msg_0", True),
            ("nothing", False),
        ):
            found = client.get(address, {"q": term}).context["cl"].result_list
            assert bool(found) is expected, (role, term)
        assert client.get(address, {"q": str(OutboxMessage.objects.get().pk)}).context["cl"].result_list


@pytest.mark.parametrize(
    "query",
    [
        "account_number__startswith=DE89",
        "amount__gt=98765",
        "metadata__iban__startswith=DE",
        "client__transactions__amount__gt=1",
        "o=5",
        "status__exact=pending",
    ],
)
def test_the_address_bar_answers_no_question_about_what_is_masked(everything, query):
    client = person(roles.OPERATOR)
    other = dict([query.split("=")])
    answer = client.get(reverse("admin:transactions_transaction_changelist"), other)
    if answer.status_code == 200:
        assert [row.pk for row in answer.context["cl"].result_list] == [everything.pk]
    else:
        assert answer.status_code in {302, 400}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no_route", "no_route"),
        ("312 NO_ROUTE", "312 NO_ROUTE"),
        ("DE89 3704 0044 0532 0130 00 is closed", "••• is closed"),
        ("amount 125.50 is too much", "amount ••• is too much"),
        ("50880050/0194804000888", "•••"),
        ("transaction 01a20583-e847-7c22-8c05-89ce43067642", "transaction 01a20583-e847-7c22-8c05-89ce43067642"),
    ],
)
def test_free_text_loses_its_figures_and_keeps_ids_and_short_numbers(text, shown):
    assert masking.mask_text(text).strip() == shown


@pytest.mark.parametrize("body", ["[1]", "nonsense", '{"a": 1, "a": 2}', "{" * 5000, '{"data": NaN'])
def test_a_body_that_is_no_plain_object_is_hidden_whole(body):
    assert body not in masking.shown_body(body, full=False)
    assert masking.shown_body(body, full=True) == body


def test_members_that_nobody_thought_of_are_masked():
    shown = json.loads(
        masking.shown_body('{"type": "t", "data": {"transaction": {"status": "s", "balance": "9"}}}', full=False)
    )
    assert shown == {"type": "t", "data": {"transaction": {"status": "s", "balance": masking.MASK}}}
