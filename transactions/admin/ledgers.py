"""Transactions and their history: read-only, masked, with cancel and re-send."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from outbox import masking
from outbox.ages import AgeFilter
from outbox.ledger import LedgerAdmin
from outbox.neighbours import keys_for
from outbox.verbs import Outcome, Press, Verb
from transactions import interventions
from transactions.admin.neighbours import is_id, link_to, of_account, per_client
from transactions.models import HistoryEntry, Transaction
from transactions.money import format_amount
from transactions.states import Status

STATUS_COLOURS = {
    Status.PENDING.value: "info",
    Status.PROCESSING.value: "primary",
    Status.SUCCEEDED.value: "success",
    Status.FAILED.value: "danger",
    Status.CANCELED.value: "warning",
}


class StatusFilter(admin.SimpleListFilter):
    """One status; overdue ones oldest first, since those wait longest."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The five, and the flag."""
        return [*((status.value, status.value) for status in Status), ("overdue", "overdue: oldest first")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Transaction]) -> QuerySet[Transaction]:
        """Overdue ones are all pending or processing; saying so lets the index find them."""
        if self.value() == "overdue":
            return queryset.filter(overdue=True, status__in=[Status.PENDING.value, Status.PROCESSING.value])
        return queryset.filter(status=self.value()) if self.value() in STATUS_COLOURS else queryset


def _cancel(press: Press) -> Outcome:
    return Outcome(len(interventions.cancel(press.ids)))


def _resend(press: Press) -> Outcome:
    sent = interventions.resend(press.ids)
    return Outcome(len(sent), notes={key: f"event {event_id} sent again" for key, event_id in sent.items()})


@admin.register(Transaction)
class TransactionAdmin(LedgerAdmin):
    """Transactions, newest first, each with its history and neighbours."""

    list_display = (
        *("id", "client", "shown_status", "late", "account_number", "shown_amount", "direction"),
        *("version", "created_at"),
    )
    list_filter = (StatusFilter, AgeFilter)
    search_fields = ("id",)
    search_help_text = "Transaction id, external id, account number, event id, webhook-id"
    list_select_related = ("client",)
    fieldsets = (
        (None, {"fields": ("id", "client", "external_id", "shown_status", "late", "version")}),
        (
            "What was submitted",
            {
                "fields": (
                    *("account_number", "shown_amount", "direction", "transaction_date", "description", "metadata"),
                )
            },
        ),
        ("What became of it", {"fields": ("processed_data", "error", "processed_at", "resends", "check_at")}),
        ("Times", {"fields": ("created_at", "updated_at")}),
    )
    masked = {
        "account_number": "masked_account_number",
        "shown_amount": "masked_amount",
        "description": "masked_description",
        "metadata": "masked_metadata",
        "processed_data": "masked_processed_data",
        "error": "masked_error",
    }
    verbs = (
        Verb(
            "cancel",
            "Cancel",
            "The transaction is canceled for good, as if its client had done it; the Consumer is told by an event. A "
            "result that comes nevertheless ends as a conflict.",
            _cancel,
            ("status", "version"),
            lambda row: row.status == Status.PENDING.value,
            dangerous=True,
        ),
        Verb(
            "resend",
            "Send event again",
            "The newest event is sent once more with the same id and bytes. A Consumer that has it drops the copy, or "
            "sends its result again. Where its retention has ended while the result is awaited, a new event tells the "
            "same version.",
            _resend,
            ("status",),
        ),
    )

    def get_keyset(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first; the longest overdue first."""
        return ("pk",) if request.GET.get("status") == "overdue" else self.keyset

    def fetch(self, request: HttpRequest, rows: QuerySet[Transaction], limit: int) -> list[Transaction]:
        """Filtered rows client by client: see per_client. A search that has named its few rows needs no such help."""
        named = bool(request.GET.get("q")) and not getattr(request, "searches_account", False)
        if named or not (request.GET.get("status") or request.GET.get("q")):
            return list(rows[:limit])
        overdue = request.GET.get("status") == "overdue"
        parts = [rows.filter(status=status) for status in ("pending", "processing")] if overdue else [rows]
        found = set().union(*(per_client(part, limit) for part in parts))
        order = rows.query.order_by
        first = sorted(found, reverse=str(order[0]).startswith("-"))[:limit]
        return list(Transaction.objects.filter(pk__in=first).select_related("client").order_by(*order))

    def search(self, request: HttpRequest, rows: QuerySet[Transaction], term: str) -> QuerySet[Transaction]:
        """By anything that names one; by account number only for those who may see it."""
        if masking.may_see(request) and of_account(term, 1):
            request.searches_account = True  # type: ignore[attr-defined]
            return rows.filter(account_number=term)
        return rows.filter(pk__in=[key for key in keys_for(request, term) if is_id(key)])

    def related_key(self, row: Transaction) -> str:
        """Its id."""
        return str(row.id)

    @display(description="status", label=STATUS_COLOURS)
    def shown_status(self, row: Transaction) -> str:
        """In colour."""
        return row.status

    @display(description="overdue", label={"overdue": "warning"})
    def late(self, row: Transaction) -> str:
        """A word instead of a cross for every transaction that is well."""
        return "overdue" if row.overdue else ""

    @admin.display(description="amount")
    def shown_amount(self, row: Transaction) -> str:
        """With the digits of its currency."""
        return f"{format_amount(row.amount, row.currency)} {row.currency}"

    @admin.display(description="amount")
    def masked_amount(self, row: Transaction) -> str:
        """Only the currency."""
        return f"{masking.MASK} {row.currency}"

    @admin.display(description="account number")
    def masked_account_number(self, row: Transaction) -> str:
        """The last four characters."""
        return masking.mask_value(row.account_number)

    @admin.display(description="description")
    def masked_description(self, row: Transaction) -> str:
        """Clients write account numbers here too."""
        return masking.MASK if row.description else ""

    @admin.display(description="metadata")
    def masked_metadata(self, row: Transaction) -> str:
        """Likewise."""
        return masking.MASK if row.metadata else "{}"

    @admin.display(description="processed data")
    def masked_processed_data(self, row: Transaction) -> str:
        """The Consumer's words likewise."""
        return masking.MASK if row.processed_data is not None else "-"

    @admin.display(description="error")
    def masked_error(self, row: Transaction) -> str:
        """The code tells why; the message may name the account."""
        return str(row.error.get("code", masking.MASK)) if isinstance(row.error, dict) else "-"


@admin.register(HistoryEntry)
class HistoryEntryAdmin(LedgerAdmin):
    """Every change and every result of all transactions, newest first."""

    list_display = ("id", "at", "transaction_link", "kind", "status", "by", "type", "state", "door", "webhook_id")
    list_filter = (AgeFilter,)
    search_fields = ("id",)
    search_help_text = "Transaction id, external id, account number, event id, webhook-id"
    fields = ("at", "transaction_link", "kind", "version", "status", "by", "webhook_id", "type", "state", "door")

    def search(self, request: HttpRequest, rows: QuerySet[HistoryEntry], term: str) -> QuerySet[HistoryEntry]:
        """The history of whatever the term names."""
        return rows.filter(transaction_id__in=[key for key in keys_for(request, term) if is_id(key)])

    def related_key(self, row: HistoryEntry) -> str:
        """The transaction's id."""
        return str(row.transaction_id)

    @admin.display(description="transaction")
    def transaction_link(self, row: HistoryEntry) -> str:
        """To its page."""
        return link_to(row.transaction_id)
