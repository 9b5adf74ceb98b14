"""Results with reapply and discard, and the evidence of ids that came again with other bytes."""

from typing import Any

from django.contrib import admin
from django.db import connection
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import TextFilter
from unfold.decorators import display

from outbox import masking
from outbox.ages import AgeFilter
from outbox.ledger import LedgerAdmin
from outbox.neighbours import Panel, keys_for
from outbox.verbs import Outcome, Press, Verb
from webhooks import services
from webhooks.admin.neighbours import is_transaction_id, link_to
from webhooks.models import InboxMessage, ReusedWebhookId

_State = InboxMessage.State
STATE_COLOURS = {
    _State.RECEIVED: "info",
    _State.APPLIED: "success",
    _State.NOOP: "success",
    _State.SUPERSEDED: "primary",
    _State.UNMATCHED: "warning",
    _State.FAILED: "warning",
    _State.CONFLICT: "danger",
    _State.QUARANTINED: "danger",
    _State.DEAD: "danger",
}
# What each state means and whether somebody must do something, on every row's own page.
STATE_WORDS = {
    _State.RECEIVED: "Stored; a worker applies it within seconds.",
    _State.APPLIED: "The transaction has this outcome. Nothing to do.",
    _State.NOOP: "The transaction said this already. Nothing to do.",
    _State.SUPERSEDED: "For an older version of the transaction; the Consumer answers the newer one. Nothing to do.",
    _State.UNMATCHED: "The transaction is unknown or has not reached that version; looked at again for 24 hours.",
    _State.FAILED: "Applying it failed; tried again by itself, ever more seldom. The reason says why.",
    _State.CONFLICT: "The transaction is settled otherwise and was not overwritten. Ask the Consumer which is right.",
    _State.QUARANTINED: "Signed, but no result: the reason says what is wrong. Once mended here, reapply; else discard.",
    _State.DEAD: "Given up. When the reason is removed, reapply; else leave it or discard.",
}
# With an error text worth looking through: the others are many and have none.
_TROUBLED = (_State.UNMATCHED, _State.FAILED, _State.CONFLICT, _State.QUARANTINED, _State.DEAD)


class StateFilter(admin.SimpleListFilter):
    """One state; each has its part of an index."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All nine."""
        return [(state.value, state.value) for state in _State]

    def queryset(self, request: HttpRequest, queryset: QuerySet[InboxMessage]) -> QuerySet[InboxMessage]:
        """A value that nobody offered changes nothing."""
        return queryset.filter(state=self.value()) if self.value() in _State.values else queryset


class ReasonFilter(TextFilter):
    """What the reason says, among the results that have trouble."""

    title = "reason"
    parameter_name = "reason"

    def queryset(self, request: HttpRequest, queryset: QuerySet[InboxMessage]) -> QuerySet[InboxMessage]:
        """By substring."""
        if not self.value():
            return queryset
        if "\0" in self.value():
            # No text in PostgreSQL has it.
            return queryset.none()
        return queryset.filter(state__in=_TROUBLED, reason__icontains=self.value())


def _reapply(press: Press) -> Outcome:
    ids = press.ids
    if len(ids) > 1:
        # Whoever ticks a page of dead ones does not mean what somebody gave up for a reason. `press` has locked the rows.
        ids = list(InboxMessage.objects.filter(id__in=ids, discarded=False).values_list("id", flat=True))
    return Outcome(services.reapply(ids))


def _discard(press: Press) -> Outcome:
    return Outcome(services.discard(press.ids, f"Discarded by {press.username}: {press.reason}"))


@admin.register(InboxMessage)
class InboxMessageAdmin(LedgerAdmin):
    """Every result with what became of it and why."""

    list_display = ("webhook_id", "type", "transaction_link", "shown_state", "why", "deliveries", "door", "received_at")
    list_filter = (StateFilter, AgeFilter, ReasonFilter)
    search_fields = ("id",)
    search_help_text = "Webhook-id, transaction id, external id, account number, event id"
    fieldsets = (
        (None, {"fields": ("webhook_id", "shown_state", "meaning", "whole_reason", "type", "transaction_link")}),
        (
            "Delivery",
            {"fields": ("door", "received_at", "sent_at", "deliveries", "key_id")},
        ),
        ("Applying", {"fields": ("applied_at", "attempts", "due_at", "lease_token", "discarded")}),
        ("As it was signed", {"fields": ("raw_body",)}),
    )
    masked = {"raw_body": "masked_body", "why": "masked_why", "whole_reason": "masked_reason"}
    verbs = (
        Verb(
            "reapply",
            "Reapply",
            "The result is judged again by the same rules, within seconds. A transaction that is settled stays as it is. Of "
            "several at once, discarded ones are left alone: reapply such a one by itself.",
            _reapply,
            ("state", "attempts", "discarded"),
            lambda row: row.state not in {_State.APPLIED, _State.NOOP, _State.RECEIVED},
            lock_order=("transaction_id", "id"),
        ),
        Verb(
            "discard",
            "Discard",
            "The result is given up and stops asking for somebody. Nothing is changed in the transaction. Reapply takes it "
            "back.",
            _discard,
            ("state", "discarded"),
            lambda row: row.state not in {_State.APPLIED, _State.NOOP, _State.SUPERSEDED} and not row.discarded,
            dangerous=True,
            lock_order=("transaction_id", "id"),
        ),
    )

    def fetch(self, request: HttpRequest, rows: QuerySet[InboxMessage], limit: int) -> list[InboxMessage]:
        """With a reason: state by state, since each has its part of the index and all together have none."""
        if not request.GET.get("reason") or connection.vendor != "postgresql":
            return list(rows[:limit])
        parts = [rows.filter(state=state).values("pk")[:limit] for state in _TROUBLED]
        ids = sorted(
            (row["pk"] for row in parts[0].union(*parts[1:], all=True)),
            reverse=str(rows.query.order_by[0]).startswith("-"),
        )
        return list(InboxMessage.objects.filter(pk__in=ids[:limit]).order_by(*rows.query.order_by))

    def row_summary(self, row: InboxMessage) -> str:
        """Also whether somebody gave it up."""
        return super().row_summary(row) + (", discarded" if row.discarded else "")

    def search(self, request: HttpRequest, rows: QuerySet[InboxMessage], term: str) -> QuerySet[InboxMessage]:
        """A webhook-id names one; other words all results of a transaction."""
        if InboxMessage.objects.filter(webhook_id=term).exists():
            return rows.filter(webhook_id=term)
        return rows.filter(transaction_id__in=[key for key in keys_for(request, term) if is_transaction_id(key)])

    def related_key(self, row: InboxMessage) -> str:
        """The transaction's id, when the body named one."""
        return str(row.transaction_id or "")

    def get_queryset(self, request: HttpRequest) -> QuerySet[InboxMessage]:
        """On a row's own page with the newest evidence, which saves a query there."""
        rows: QuerySet[InboxMessage] = super().get_queryset(request)
        if request.resolver_match is None or request.resolver_match.url_name != "webhooks_inboxmessage_change":
            return rows
        newest = ReusedWebhookId.objects.filter(first=OuterRef("pk")).order_by("-id")
        return rows.annotate(
            evidence=Subquery(newest.values("pk")[:1]), evidence_at=Subquery(newest.values("received_at")[:1])
        )

    def own_panels(self, request: HttpRequest, row: Any) -> list[Panel]:
        """Other bytes that came under its id."""
        if row.evidence is None or not request.user.has_perm("webhooks.view_reusedwebhookid"):
            return []
        newest = [link_to("reusedwebhookid", row.evidence, "the newest of them"), row.evidence_at]
        return [Panel("The same id with other bytes", ["evidence", "received"], [newest])]

    @display(description="state", label=STATE_COLOURS)
    def shown_state(self, row: InboxMessage) -> str:
        """In colour."""
        return row.state

    @admin.display(description="what it means")
    def meaning(self, row: InboxMessage) -> str:
        """In plain words; a discarded one asks for nobody."""
        return "Given up by an operator." if row.discarded else STATE_WORDS[_State(row.state)]

    @admin.display(description="transaction")
    def transaction_link(self, row: InboxMessage) -> str:
        """To its page; an unknown one has none."""
        if row.transaction_id is None:
            return "-"
        url = reverse("admin:transactions_transaction_change", args=[row.transaction_id])
        return format_html('<a href="{}" class="text-link">{}</a>', url, row.transaction_id)

    @admin.display(description="reason")
    def why(self, row: InboxMessage) -> str:
        """Its beginning."""
        return row.reason[:80]

    @admin.display(description="reason")
    def masked_why(self, row: InboxMessage) -> str:
        """Without figures."""
        return masking.mask_text(row.reason)[:80]

    @admin.display(description="reason")
    def whole_reason(self, row: InboxMessage) -> str:
        """As it was."""
        return row.reason or "-"

    @admin.display(description="reason")
    def masked_reason(self, row: InboxMessage) -> str:
        """Without figures."""
        return masking.mask_text(row.reason) or "-"

    @admin.display(description="body")
    def raw_body(self, row: InboxMessage) -> str:
        """The bytes as text, for quarantined ones above all."""
        return _body(row.body, full=True)

    @admin.display(description="body")
    def masked_body(self, row: InboxMessage) -> str:
        """Without what is sensitive."""
        return _body(row.body, full=False)


@admin.register(ReusedWebhookId)
class ReusedWebhookIdAdmin(LedgerAdmin):
    """Evidence of ids that came again with other bytes."""

    list_display = ("id", "first_link", "received_at", "deliveries")
    list_select_related = ("first",)
    list_filter = (AgeFilter,)
    fields = ("first_link", "received_at", "deliveries", "raw_body")
    masked = {"raw_body": "masked_body"}

    @admin.display(description="the first, which stands")
    def first_link(self, row: ReusedWebhookId) -> str:
        """To its page."""
        return link_to("inboxmessage", row.first_id, row.first.webhook_id)

    @admin.display(description="body")
    def raw_body(self, row: ReusedWebhookId) -> str:
        """The other bytes."""
        return _body(row.body, full=True)

    @admin.display(description="body")
    def masked_body(self, row: ReusedWebhookId) -> str:
        """Without what is sensitive."""
        return _body(row.body, full=False)


def _body(raw: Any, *, full: bool) -> str:
    return format_html('<pre class="ledger-body">{}</pre>', masking.shown_body(bytes(raw), full=full))
