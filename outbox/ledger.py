"""The read-only admin page that every ledger of the product is: bounded lists, masking, neighbours."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from outbox import masking, neighbours
from outbox.keyset import KeysetChangeList
from outbox.verb_pages import VerbAdmin


class ReadOnlyAdmin(ModelAdmin):
    """Nobody adds, edits or deletes rows by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False


class LedgerAdmin(ReadOnlyAdmin, VerbAdmin):
    """A ledger of any length. Lists are pages by key, without counts; searches and filters are those with an index."""

    # The order of the list: not null, and an index answers it.
    keyset: tuple[str, ...] = ("-pk",)
    # Which fields are shown as which masked display to people without the permission.
    masked: dict[str, str] = {}
    show_full_result_count = False
    list_per_page = 50
    sortable_by = ()
    list_filter_sheet = False
    change_form_outer_after_template = "ledger/panels.html"

    def get_keyset(self, request: HttpRequest) -> tuple[str, ...]:
        """For subclasses whose filters have another order."""
        return self.keyset

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what each row names, on its own page as in the list."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.select_related(*self.list_select_related) if self.list_select_related else rows

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        """Pages by key."""
        return KeysetChangeList

    def fetch(self, request: HttpRequest, rows: QuerySet[Any], limit: int) -> list[Any]:
        """The first `limit` of ordered rows; for subclasses that know a cheaper way."""
        return list(rows[:limit])

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only the list's own filters: `?account_number__startswith=` in the address would answer what is masked."""
        return lookup in {getattr(entry, "parameter_name", entry) for entry in self.list_filter}

    def get_list_display(self, request: HttpRequest) -> list[str]:
        """Masked columns for those who may not see the figures."""
        return self._seen(request, super().get_list_display(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Masked fields likewise."""
        return self._seen(request, super().get_fields(request, obj))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """And in groups of fields, which Django takes past get_fields."""
        groups = super().get_fieldsets(request, obj)
        return [(name, {**options, "fields": self._seen(request, options["fields"])}) for name, options in groups]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Displays are no fields of the model and must be named here."""
        return [*super().get_readonly_fields(request, obj), *self.masked.values()]

    def _seen(self, request: HttpRequest, names: Sequence[Any]) -> list[Any]:
        full = masking.may_see(request)
        return [name if full else self.masked.get(name, name) for name in names]

    def related_key(self, row: Any) -> str:
        """The business key of a row, by which its neighbours are found; empty: it has none."""
        return ""

    def more_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Panels with the row's neighbours."""
        if row is None:
            return {}
        key = self.related_key(row)
        shared = neighbours.panels_of(request, key) if key else []
        return {"panels": [*self.own_panels(request, row), *shared, *neighbours.panels_of_row(request, row)]}

    def own_panels(self, request: HttpRequest, row: Any) -> list[neighbours.Panel]:
        """For subclasses: panels about this row itself."""
        return []

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Exact look-ups by index; `search_fields` only makes the theme show the box."""
        term = search_term.strip()
        return (self.search(request, queryset, term) if term else queryset), False

    def search(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """For subclasses."""
        return rows.none()
