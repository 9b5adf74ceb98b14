"""Read-only ledger of events with two verbs: requeue and discard."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from outbox import services
from outbox.ledger import LedgerAdmin
from outbox.models import ChannelState, OutboxMessage


@admin.register(OutboxMessage)
class OutboxMessageAdmin(LedgerAdmin):
    """What waits, what went out by which channel, what is dead and why."""

    list_display = ("id", "type", "key", "sequence", "state", "channel", "attempts", "due_at", "published_at", "error")
    list_filter = ("state", "channel", "type")
    search_fields = ("=id", "=key")
    ordering = ("-id",)
    actions = ("requeue", "discard")

    @admin.action(description="Requeue: send again, same id", permissions=["requeue"])
    def requeue(self, request: HttpRequest, queryset: QuerySet[OutboxMessage]) -> None:
        """Pressing it twice does no harm."""
        changed = services.requeue(list(queryset.values_list("id", flat=True)))
        self.log_verb(request, queryset, "requeued")
        self.message_user(request, f"{changed} events will be sent again.", messages.SUCCESS)

    @admin.action(description="Discard: give up waiting and dead events", permissions=["requeue"])
    def discard(self, request: HttpRequest, queryset: QuerySet[OutboxMessage]) -> None:
        """A discarded event is dead, with who said so, and holds nobody back."""
        changed = services.discard(
            list(queryset.values_list("id", flat=True)), f"Discarded by {request.user.get_username()}"
        )
        self.log_verb(request, queryset, "discarded")
        self.message_user(request, f"{changed} events discarded.", messages.SUCCESS)

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        """Who may change outbox messages may use the verbs."""
        return request.user.has_perm("outbox.change_outboxmessage")

    def log_verb(self, request: HttpRequest, queryset: QuerySet[OutboxMessage], verb: str) -> None:
        """One audit entry per event."""
        for row in queryset:
            self.log_change(request, row, verb)


@admin.register(ChannelState)
class ChannelStateAdmin(LedgerAdmin):
    """Since when a channel fails, and why."""

    list_display = ("name", "failing_since", "retry_at", "failures", "disabled", "reason", "changed_at")
