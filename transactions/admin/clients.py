"""API clients, their keys with revocation, and what each idempotency key stands for."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from outbox.ages import AgeFilter
from outbox.ledger import LedgerAdmin
from outbox.neighbours import MAX_ROWS, Panel
from outbox.verbs import Outcome, Press, Verb
from transactions import clients
from transactions.models import ApiClient, ApiKey, IdempotencyKey


def _new_key(press: Press) -> Outcome:
    client = ApiClient.objects.get(pk=press.ids[0])
    key = clients.add_key(client)
    return Outcome(1, {client.pk: f"new key {key[:10]}…"}, [(f"The new key of {client.name}", key)])


def _activate(press: Press) -> Outcome:
    return Outcome(clients.set_active(press.ids, True))


def _deactivate(press: Press) -> Outcome:
    return Outcome(clients.set_active(press.ids, False))


def _revoke(press: Press) -> Outcome:
    return Outcome(clients.revoke_keys(press.ids))


@admin.register(ApiClient)
class ApiClientAdmin(LedgerAdmin):
    """Clients; a client with transactions is never deleted, but deactivated. `manage.py create_api_client` makes one."""

    list_display = ("name", "active", "created_at")
    fields = ("name", "active", "created_at")
    search_fields = ("name",)
    search_help_text = "The beginning of the name"
    verbs = (
        Verb(
            "newkey",
            "New key",
            "The client gets one more key, shown once. Its other keys go on working until they are revoked: hand the new "
            "one over, wait until the old one is no longer used, then revoke that.",
            _new_key,
            ("active",),
            single=True,
        ),
        Verb(
            "deactivate",
            "Deactivate",
            "All keys of the client are refused from the next request on. What it has submitted goes on.",
            _deactivate,
            ("active",),
            lambda row: row.active,
            dangerous=True,
        ),
        Verb(
            "activate",
            "Activate",
            "Its keys that are not revoked work again from the next request on.",
            _activate,
            ("active",),
            lambda row: not row.active,
        ),
    )

    def search(self, request: HttpRequest, rows: QuerySet[ApiClient], term: str) -> QuerySet[ApiClient]:
        """There are few."""
        return rows.filter(name__istartswith=term)

    def own_panels(self, request: HttpRequest, row: ApiClient) -> list[Panel]:
        """Its keys."""
        shown = [
            [_key_link(key), key.created_at, key.expires_at or "-", key.last_used_at or "never", key.revoked_at or "-"]
            for key in row.keys.order_by("-id")[:MAX_ROWS]
        ]
        return [Panel("Keys", ["key", "made", "expires", "last used", "revoked"], shown)]


@admin.register(ApiKey)
class ApiKeyAdmin(LedgerAdmin):
    """Keys by prefix."""

    list_display = ("prefix", "client", "created_at", "expires_at", "revoked_at", "last_used_at")
    fields = ("prefix", "client", "created_at", "expires_at", "revoked_at", "last_used_at")
    list_select_related = ("client",)
    search_fields = ("prefix",)
    search_help_text = "The first characters of the key"
    verbs = (
        Verb(
            "revoke",
            "Revoke",
            "The key is refused from the next request on, for good.",
            _revoke,
            ("revoked_at",),
            lambda row: row.revoked_at is None,
            dangerous=True,
        ),
    )

    def search(self, request: HttpRequest, rows: QuerySet[ApiKey], term: str) -> QuerySet[ApiKey]:
        """Only as much of a key as is stored; a whole one that somebody pasted is cut."""
        return rows.filter(prefix__startswith=term[:10])

    def row_summary(self, row: Any) -> str:
        """When it was used last decides whether it can go."""
        return f"{row.client.name}, last used {row.last_used_at or 'never'}"


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(LedgerAdmin):
    """Keys and what they stand for; the stored answers stay out of sight."""

    list_display = ("id", "key", "client", "status", "created_at")
    fields = ("key", "client", "status", "created_at", "transactions")
    list_select_related = ("client",)
    list_filter = (AgeFilter,)
    search_fields = ("key",)
    search_help_text = "The key, exactly"

    def search(self, request: HttpRequest, rows: QuerySet[IdempotencyKey], term: str) -> QuerySet[IdempotencyKey]:
        """Unique per client, and the index begins with the client."""
        return rows.filter(client_id__in=list(ApiClient.objects.values_list("pk", flat=True)), key=term)

    def own_panels(self, request: HttpRequest, row: IdempotencyKey) -> list[Panel]:
        """What its request wrote."""
        url = "admin:transactions_transaction_change"
        shown = [
            [format_html('<a href="{}" class="text-link">{}</a>', reverse(url, args=[pk]), pk)]
            for pk in row.transactions[:MAX_ROWS]
        ]
        return [Panel("Transactions", ["id"], shown)]


def _key_link(key: ApiKey) -> str:
    url = reverse("admin:transactions_apikey_change", args=[key.pk])
    return format_html('<a href="{}" class="text-link">{}…</a>', url, key.prefix)
