"""What the pages of events and results show of a transaction, and which words find one."""

from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.models import OuterRef, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from outbox import masking
from outbox.neighbours import MAX_KEYS, MAX_ROWS, Panel, finder, panel
from transactions.models import ApiClient, HistoryEntry, Transaction


@panel(10, "transactions.view_transaction")
def transaction_of(request: HttpRequest, key: str) -> Panel | None:
    """The transaction with what happened to it; on its own page too, where its history belongs."""
    if not is_id(key):
        return None
    entries = HistoryEntry.objects.filter(transaction_id=key).order_by("-id")[:MAX_ROWS]
    rows = [
        [entry.at, entry.kind, entry.status or entry.type, entry.version or "-", entry.by or "-", entry.state or "-"]
        for entry in reversed(entries)
    ]
    title = format_html("History of transaction {}", link_to(key))
    more = f"{reverse('admin:transactions_historyentry_changelist')}?q={key}"
    return Panel(
        title, ["at", "what", "status or type", "version", "by", "result"], rows, more, "There is no such transaction."
    )


@finder
def transactions_named(request: HttpRequest, term: str) -> list[str]:
    """Its id, a client's own name for it, or, for those who may see those, its account number (the newest few)."""
    if is_id(term):
        return [str(UUID(term))]
    # The clients are named because the index begins with them.
    named = Transaction.objects.filter(client_id__in=ApiClient.objects.values("pk"), external_id=term).order_by()
    found = [str(pk) for pk in named.values_list("id", flat=True)[:MAX_KEYS]]
    return found or (of_account(term, MAX_KEYS) if masking.may_see(request) else [])


def of_account(account_number: str, limit: int) -> list[str]:
    """The newest transactions of an account; client by client, since each index begins with the client."""
    return [
        str(pk)
        for pk in sorted(
            per_client(Transaction.objects.filter(account_number=account_number).order_by("-id"), limit), reverse=True
        )[:limit]
    ]


def per_client(rows: QuerySet[Transaction], limit: int) -> set[UUID]:
    """The first `limit` ids of each client, in one statement: all indexes begin with the client, and no other would be worth
    what it costs each insert. Their first `limit` are those of all clients, however rare they are among a million."""
    if connection.vendor != "postgresql":
        return set(rows.values_list("pk", flat=True)[:limit])
    firsts = ArraySubquery(rows.filter(client=OuterRef("pk")).values("pk")[:limit])
    return {
        pk for ids in ApiClient.objects.annotate(firsts=firsts).values_list("firsts", flat=True) for pk in ids or ()
    }


def is_id(text: str) -> bool:
    """Whether it can be a transaction's."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def link_to(transaction_id: Any) -> str:
    """Its page."""
    url = reverse("admin:transactions_transaction_change", args=[transaction_id])
    return format_html('<a href="{}" class="text-link">{}</a>', url, transaction_id)
