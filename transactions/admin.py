"""Read-only pages for transactions and history; clients and keys with their verbs."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline

from outbox.ledger import LedgerAdmin
from transactions import clients
from transactions.models import ApiClient, ApiKey, HistoryEntry, IdempotencyKey, Transaction


class HistoryInline(TabularInline):
    """What happened, on the transaction's own page."""

    model = HistoryEntry
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False


@admin.register(Transaction)
class TransactionAdmin(LedgerAdmin):
    """Transactions with their history."""

    list_display = ("id", "client", "status", "overdue", "amount", "currency", "direction", "version", "created_at")
    list_filter = ("status", "overdue", "currency")
    search_fields = ("=id", "=external_id", "=account_number")
    list_select_related = ("client",)
    ordering = ("-id",)
    inlines = (HistoryInline,)


@admin.register(HistoryEntry)
class HistoryEntryAdmin(LedgerAdmin):
    """Every change and every result, newest first."""

    list_display = ("at", "transaction_id", "kind", "status", "by", "type", "state", "door", "webhook_id")
    list_filter = ("kind",)
    ordering = ("-id",)


@admin.register(ApiClient)
class ApiClientAdmin(ModelAdmin):
    """Clients; their keys are shown once, when they are made."""

    list_display = ("name", "active", "created_at")
    actions = ("new_key",)

    @admin.action(description="New key (shown once)")
    def new_key(self, request: HttpRequest, queryset: QuerySet[ApiClient]) -> None:
        """One more key for each chosen client."""
        for client in queryset:
            self.message_user(request, f"{client.name}: {clients.add_key(client)}", messages.WARNING)
            self.log_change(request, client, "new key")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A client with transactions stays; deactivate it instead."""
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(LedgerAdmin):
    """Keys by prefix, with revocation."""

    list_display = ("prefix", "client", "created_at", "expires_at", "revoked_at", "last_used_at")
    list_select_related = ("client",)
    exclude = ("hash",)
    actions = ("revoke",)

    @admin.action(description="Revoke: fails from the next request on", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Pressing it twice does no harm."""
        changed = sum(clients.revoke_key(key) for key in queryset)
        for key in queryset:
            self.log_change(request, key, f"revoked at {timezone.now():%Y-%m-%d %H:%M:%SZ}")
        self.message_user(request, f"{changed} keys revoked.", messages.SUCCESS)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Who may change API keys."""
        return request.user.has_perm("transactions.change_apikey")


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(LedgerAdmin):
    """Keys and what they stand for; the stored answers stay out of sight."""

    list_display = ("key", "client", "status", "created_at")
    list_select_related = ("client",)
    search_fields = ("=key",)
    exclude = ("fingerprint", "body", "headers")
