"""The outbox in the admin: events with requeue and discard, channels with enable."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db import connections, router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import TextFilter
from unfold.decorators import display

from outbox import delivery, masking, services
from outbox.ages import AgeFilter
from outbox.ledger import LedgerAdmin
from outbox.models import ChannelState, OutboxMessage
from outbox.neighbours import MAX_ROWS, Panel, finder, keys_for, panel
from outbox.verbs import Outcome, Press, Verb

_State = OutboxMessage.State
STATE_COLOURS = {_State.PENDING: "info", _State.PUBLISHED: "success", _State.DEAD: "danger"}
# Each state has a partial index, and the order of its list is that index's: oldest due first for what waits.
_KEYSETS = {_State.PENDING: ("due_at", "pk"), _State.PUBLISHED: ("-published_at", "-pk")}


class StateFilter(admin.SimpleListFilter):
    """One state, in the order of its index."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All three, in words."""
        return [("pending", "pending: oldest due first"), ("published", "published: newest first"), ("dead", "dead")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutboxMessage]) -> QuerySet[OutboxMessage]:
        """A value that nobody offered changes nothing."""
        return queryset.filter(state=self.value()) if self.value() in _State.values else queryset


class ErrorFilter(TextFilter):
    """What the error says. Published events have none, so only what waits or is dead is looked through."""

    title = "error"
    parameter_name = "error"

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutboxMessage]) -> QuerySet[OutboxMessage]:
        """By substring."""
        if not self.value():
            return queryset
        if "\0" in self.value():
            # No text in PostgreSQL has it.
            return queryset.none()
        return queryset.filter(state__in=[_State.PENDING, _State.DEAD], error__icontains=self.value())


def _requeue(press: Press) -> Outcome:
    ids = press.ids
    if len(ids) > 1:
        # Whoever ticks a page of dead ones does not mean what somebody gave up for a reason. `press` has locked the rows.
        ids = list(OutboxMessage.objects.filter(id__in=ids, discarded=False).values_list("id", flat=True))
    return Outcome(services.requeue(ids))


def _discard(press: Press) -> Outcome:
    return Outcome(services.discard(press.ids, f"Discarded by {press.username}: {press.reason}"))


def _enable(press: Press) -> Outcome:
    return Outcome(sum(delivery.enable(name) for name in press.ids))


@admin.register(OutboxMessage)
class OutboxMessageAdmin(LedgerAdmin):
    """What waits, what went out by which channel, what is dead and why."""

    # Why it is stuck stands where no screen is too narrow for it.
    list_display = ("id", "shown_state", "why", "type", "key_link", "attempts", "channel", "due_at", "sequence")
    list_filter = (StateFilter, AgeFilter, ErrorFilter)
    search_fields = ("id",)
    search_help_text = "Event id, transaction id, external id, account number, webhook-id"
    fieldsets = (
        # What is wrong stands where the page opens.
        (None, {"fields": ("id", "shown_state", "whole_error", "type", "key_link", "sequence", "topic", "created_at")}),
        (
            "Delivery",
            {
                "fields": (
                    *("channel", "published_at", "confirm_ms", "attempts", "due_at", "parked", "discarded"),
                    *("requeued_at", "claimed_by", "lease_token"),
                )
            },
        ),
        ("The event", {"fields": ("shown_body",)}),
    )
    masked = {"shown_body": "masked_body", "why": "masked_why", "whole_error": "masked_error"}
    verbs = (
        Verb(
            "requeue",
            "Requeue",
            "The event is sent again with the same id and bytes; a Consumer that has it drops the copy. Of several at once, "
            "discarded ones are left alone: requeue such a one by itself.",
            _requeue,
            ("state", "attempts", "discarded", "channel"),
            lambda row: row.state != _State.PENDING,
        ),
        Verb(
            "discard",
            "Discard",
            "The event is given up: dead, never sent by itself, and no longer in the way of later ones. The Consumer will "
            "not hear of it. Requeue takes it back.",
            _discard,
            ("state", "discarded"),
            lambda row: row.state == _State.PENDING or (row.state == _State.DEAD and not row.discarded),
            dangerous=True,
        ),
    )

    def get_keyset(self, request: HttpRequest) -> tuple[str, ...]:
        """By the index of the chosen state."""
        if connections[router.db_for_read(OutboxMessage)].vendor == "sqlite":
            # It compares times as text, and ours and its own have different numbers of digits: rows would be skipped.
            return self.keyset
        return _KEYSETS.get(request.GET.get("state", ""), self.keyset)  # type: ignore[call-overload,no-any-return]

    def search(self, request: HttpRequest, rows: QuerySet[OutboxMessage], term: str) -> QuerySet[OutboxMessage]:
        """Events of whatever the term names."""
        return rows.filter(key__in=[term, *keys_for(request, term)])

    def row_summary(self, row: OutboxMessage) -> str:
        """Also whether somebody gave it up."""
        return super().row_summary(row) + (", discarded" if row.discarded else "")

    def related_key(self, row: OutboxMessage) -> str:
        """The transaction's id; to the outbox just the key."""
        return row.key

    @display(description="state", label=STATE_COLOURS)
    def shown_state(self, row: OutboxMessage) -> str:
        """In colour."""
        return row.state

    @admin.display(description="key")
    def key_link(self, row: OutboxMessage) -> str:
        """All events of the key."""
        url = reverse("admin:outbox_outboxmessage_changelist")
        return format_html('<a href="{}?q={}" class="text-link">{}</a>', url, row.key, row.key)

    @admin.display(description="error")
    def why(self, row: OutboxMessage) -> str:
        """The beginning of the error."""
        return row.error[:80]

    @admin.display(description="error")
    def masked_why(self, row: OutboxMessage) -> str:
        """Without figures."""
        return masking.mask_text(row.error)[:80]

    @admin.display(description="error")
    def whole_error(self, row: OutboxMessage) -> str:
        """As it was."""
        return row.error

    @admin.display(description="error")
    def masked_error(self, row: OutboxMessage) -> str:
        """Without figures."""
        return masking.mask_text(row.error)

    @admin.display(description="body")
    def shown_body(self, row: OutboxMessage) -> str:
        """The CloudEvent, indented."""
        return format_html('<pre class="ledger-body">{}</pre>', masking.shown_body(row.body, full=True))

    @admin.display(description="body")
    def masked_body(self, row: OutboxMessage) -> str:
        """The CloudEvent without what is sensitive."""
        return format_html('<pre class="ledger-body">{}</pre>', masking.shown_body(row.body, full=False))


@admin.register(ChannelState)
class ChannelStateAdmin(LedgerAdmin):
    """Since when a channel fails, and why."""

    keyset = ("pk",)
    list_display = ("name", "failing_since", "retry_at", "failures", "disabled", "reason", "changed_at")
    verbs = (
        Verb(
            "enable",
            "Enable",
            "The channel is tried again. It was disabled because its receiver answered 410 Gone: make sure that the "
            "Consumer wants events at this address again.",
            _enable,
            ("disabled", "failures"),
            lambda row: row.disabled,
        ),
    )


@panel(20, "outbox.view_outboxmessage")
def events_of(request: HttpRequest, key: str) -> Panel:
    """The newest events of the key with their delivery, oldest first."""
    more = f"{reverse('admin:outbox_outboxmessage_changelist')}?q={key}"
    rows = [
        [
            format_html('<a href="{}" class="text-link">{}</a>', _page(event.id), event.type),
            *(event.sequence, event.state, event.channel or "-", event.attempts, event.delivered_at or "-"),
        ]
        for event in services.history(key, latest=MAX_ROWS)
    ]
    headers = ["event", "sequence", "state", "channel", "attempts", "delivered"]
    return Panel("Events and their deliveries", headers, rows, more)


@finder
def key_of_event(request: HttpRequest, term: str) -> list[str]:
    """An event id stands for its key."""
    try:
        event_id = UUID(term)
    except ValueError:
        return []
    return list(OutboxMessage.objects.filter(id=event_id).values_list("key", flat=True))


def _page(event_id: UUID) -> str:
    return reverse("admin:outbox_outboxmessage_change", args=[event_id])
