"""The Consumer's rows for people: read only, and one verb for a result that is dead or should go out again."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from processing.models import Event, Result, SeenTransaction


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["event_id", "type", "transaction_id", "sequence", "door", "state", "deliveries", "received_at"]
    list_filter = ["state", "door", "type"]
    search_fields = ["event_id", "transaction_id"]
    exclude = ["body"]


@admin.register(SeenTransaction)
class SeenTransactionAdmin(ReadOnlyAdmin):
    list_display = ["transaction_id", "last_sequence", "canceled", "seen_at"]
    search_fields = ["transaction_id"]


@admin.register(Result)
class ResultAdmin(ReadOnlyAdmin):
    list_display = ["webhook_id", "type", "transaction_id", "state", "door", "attempts", "last_error", "delivered_at"]
    list_filter = ["state", "door", "type"]
    search_fields = ["webhook_id", "transaction_id"]
    actions = ["send_again"]

    @admin.action(description="Send again (same id, same bytes)", permissions=["view"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Result]) -> None:
        count = queryset.exclude(state=Result.State.SUPERSEDED).update(
            state=Result.State.PENDING, rounds=0, next_attempt_at=timezone.now(), leased_until=None, lease_token=""
        )
        self.message_user(request, f"{count} will be sent again by the courier.")
