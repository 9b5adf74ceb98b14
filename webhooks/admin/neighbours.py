"""What the pages of transactions and events show of results; a webhook-id finds its transaction."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from outbox.neighbours import MAX_KEYS, MAX_ROWS, Panel, finder, panel
from webhooks.models import InboxMessage


@panel(30, "webhooks.view_inboxmessage")
def results_of(request: HttpRequest, key: str) -> Panel | None:
    """Every result that named the transaction, applied or not."""
    if not is_transaction_id(key):
        return None
    found = InboxMessage.objects.filter(transaction_id=key).defer("body").order_by("-id")[:MAX_ROWS]
    rows = [
        [
            link_to("inboxmessage", row.pk, row.webhook_id),
            row.type,
            row.state,
            row.door,
            row.deliveries,
            row.received_at,
        ]
        for row in reversed(found)
    ]
    more = f"{reverse('admin:webhooks_inboxmessage_changelist')}?q={key}"
    return Panel("Results", ["webhook-id", "type", "state", "door", "deliveries", "received"], rows, more)


@finder
def transactions_of_result(request: HttpRequest, term: str) -> list[str]:
    """A webhook-id stands for the transaction that its body names."""
    found = InboxMessage.objects.filter(webhook_id=term).exclude(transaction_id=None)
    return [str(pk) for pk in found.values_list("transaction_id", flat=True)[:MAX_KEYS]]


def is_transaction_id(text: str) -> bool:
    """Whether it can be one."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def link_to(model: str, pk: Any, text: Any) -> str:
    """A page of this app."""
    url = reverse(f"admin:webhooks_{model}_change", args=[pk])
    return format_html('<a href="{}" class="text-link">{}</a>', url, text)
