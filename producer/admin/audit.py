"""The audit log: who did what to which row, and why."""

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from outbox.ages import AgeFilter
from outbox.ledger import LedgerAdmin


@admin.register(LogEntry)
class AuditLogAdmin(LedgerAdmin):
    """Nobody edits it; it has no retention."""

    list_display = ("action_time", "user", "content_type", "object_link", "told")
    list_select_related = ("user", "content_type")
    list_filter = (AgeFilter,)
    fields = ("action_time", "user", "content_type", "object_link", "told")
    search_fields = ("object_id",)
    search_help_text = "A row's id, or a user's name"

    def search(self, request: HttpRequest, rows: QuerySet[LogEntry], term: str) -> QuerySet[LogEntry]:
        """What was done to a row, or by somebody."""
        return rows.filter(object_id=term) | rows.filter(user__username=term)

    @admin.display(description="what and why")
    def told(self, entry: LogEntry) -> str:
        """The sentence as the object's own history shows it."""
        return entry.get_change_message()

    @admin.display(description="row")
    def object_link(self, entry: LogEntry) -> str:
        """To its page."""
        url = entry.get_admin_url()
        return (
            format_html('<a href="{}" class="text-link">{}</a>', url, entry.object_repr) if url else entry.object_repr
        )
