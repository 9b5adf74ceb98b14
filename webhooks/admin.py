"""Read-only ledgers: results with reapply and discard, keys with rotate and retire."""

from datetime import timedelta

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from outbox.ledger import LedgerAdmin
from webhooks import key_store, keys, services
from webhooks.models import InboxMessage, ReusedWebhookId, WebhookKey

# How long the old keys stay active after a rotation from the admin; `manage.py webhook_keys` takes any other.
OVERLAP = timedelta(hours=24)


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


@admin.register(WebhookKey)
class WebhookKeyAdmin(LedgerAdmin):
    """Keys in the database by id; their secrets are shown once, when they are made."""

    list_display = ("key_id", "direction", "kind", "not_before", "retire_at", "last_used_at", "note")
    list_filter = ("direction", "kind")
    exclude = ("sealed",)
    ordering = ("-id",)
    actions = ("rotate", "retire")

    @admin.action(description="Rotate: a new key, the old ones of its direction end in 24 h", permissions=["verbs"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[WebhookKey]) -> HttpResponse | None:
        """Shows the new key in this one answer; a message would lie in a cookie or a session."""
        if queryset.filter(kind=WebhookKey.Kind.PUBLIC).exists() or queryset.count() != 1:
            text = "Choose one key. A Consumer's public key follows its own: manage.py webhook_keys rotate --public."
            self.message_user(request, text, messages.ERROR)
            return None
        row = queryset.get()
        made, old = key_store.rotate(row.direction, OVERLAP, ed25519=row.kind == WebhookKey.Kind.SIGNING)
        keys.forget()
        self.log_addition(request, made.row, f"made by rotation; these end in 24 h: {', '.join(old)}")
        for ending in WebhookKey.objects.filter(direction=row.direction, key_id__in=old):
            self.log_change(request, ending, f"ends in 24 h; {made.row.key_id} follows")
        answer = render(request, "webhooks/new_key.html", {**self.admin_site.each_context(request), "made": made})
        answer["Cache-Control"] = "no-store"
        return answer

    @admin.action(description="Retire: ends now", permissions=["verbs"])
    def retire(self, request: HttpRequest, queryset: QuerySet[WebhookKey]) -> None:
        """Pressing it twice does no harm; the last active key of a direction stays."""
        ids = list(queryset.values_list("id", flat=True))
        if bare := key_store.bare_without(ids):
            text = f"That leaves no key for: {', '.join(bare)}. Rotate first."
            self.message_user(request, text, messages.ERROR)
            return
        changed = key_store.retire(ids)
        keys.forget()
        for row in queryset:
            self.log_change(request, row, "retired")
        self.message_user(request, f"{changed} keys retired.", messages.SUCCESS)

    def has_verbs_permission(self, request: HttpRequest) -> bool:
        """Who may change webhook keys may use the verbs."""
        return request.user.has_perm("webhooks.change_webhookkey")
