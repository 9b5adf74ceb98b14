"""Read-only ledger of results with two verbs: reapply and discard."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from webhooks import services
from webhooks.models import InboxMessage, ReusedWebhookId


class LedgerAdmin(admin.ModelAdmin[Any]):
    """A ledger: nobody adds, edits or deletes rows by hand."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never; the verbs check their own permission."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False


@admin.register(InboxMessage)
class InboxMessageAdmin(LedgerAdmin):
    """Every result with what became of it and why."""

    list_display = ("webhook_id", "type", "transaction_id", "state", "reason", "deliveries", "attempts", "received_at")
    list_filter = ("state", "type", "door")
    search_fields = ("=webhook_id", "=transaction_id")
    exclude = ("body", "sha256")
    readonly_fields = ("raw_body",)
    ordering = ("-id",)
    actions = ("reapply", "discard")

    @admin.display(description="body")
    def raw_body(self, row: InboxMessage) -> str:
        """The bytes as text, for quarantined ones above all."""
        return bytes(row.body).decode("utf-8", "backslashreplace")

    @admin.action(description="Reapply: judge again", permissions=["verbs"])
    def reapply(self, request: HttpRequest, queryset: QuerySet[InboxMessage]) -> None:
        """Pressing it twice does no harm."""
        changed = services.reapply(list(queryset.values_list("id", flat=True)))
        self._audit(request, queryset, "reapplied")
        self.message_user(request, f"{changed} results will be judged again.", messages.SUCCESS)

    @admin.action(description="Discard: give up", permissions=["verbs"])
    def discard(self, request: HttpRequest, queryset: QuerySet[InboxMessage]) -> None:
        """Settled results stay as they are."""
        reason = f"Discarded by {request.user.get_username()}"
        changed = services.discard(list(queryset.values_list("id", flat=True)), reason)
        self._audit(request, queryset, "discarded")
        self.message_user(request, f"{changed} results discarded.", messages.SUCCESS)

    def has_verbs_permission(self, request: HttpRequest) -> bool:
        """Who may change inbox messages may use the verbs."""
        return request.user.has_perm("webhooks.change_inboxmessage")

    def _audit(self, request: HttpRequest, queryset: QuerySet[InboxMessage], verb: str) -> None:
        for row in queryset:
            self.log_change(request, row, verb)


@admin.register(ReusedWebhookId)
class ReusedWebhookIdAdmin(LedgerAdmin):
    """Evidence of ids that came again with other bytes."""

    list_display = ("first", "received_at", "deliveries")
    list_select_related = ("first",)
    exclude = ("body", "sha256")
