"""The read-only admin page that every ledger of the product is."""

from typing import Any

from django.http import HttpRequest
from unfold.admin import ModelAdmin


class LedgerAdmin(ModelAdmin):
    """Nobody adds, edits or deletes rows by hand; verbs are actions that check their own permission."""

    # A full count of a million rows would be the slowest part of the page.
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False
