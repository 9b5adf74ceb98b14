"""A change list without counts and offsets: page ten thousand costs what page one costs."""

from typing import Any

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from unfold.views import ChangeList

AFTER, BEFORE = "after", "before"
# Between the values of a cursor; no ordering field of ours (ids, times) can hold it.
SEPARATOR = "~"


class Pages:
    """What the pagination template shows, in place of Django's paginator: there is no number of pages to know."""

    template_name = "ledger/pagination.html"

    def __init__(self, earlier: str, later: str, first: str) -> None:
        self.earlier, self.later, self.first = earlier, later, first


class KeysetChangeList(ChangeList):
    """Pages by the ordering fields of the last row seen. The order is the admin's `keyset`, all in one direction."""

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The cursor is no filter."""
        found: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in {AFTER, BEFORE}}

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str]:
        """Nobody chooses: an order without an index would sort a million rows, and sorting by a masked column tells it."""
        return list(self.model_admin.get_keyset(request))

    def get_ordering_field_columns(self) -> dict[int, str]:
        """No column is sorted by a click."""
        return {}

    def get_results(self, request: HttpRequest) -> None:
        """One row more than a page tells whether there is another."""
        keyset = list(self.model_admin.get_keyset(request))
        backwards = BEFORE in self.params
        cursor = self.params.pop(BEFORE, None) or self.params.pop(AFTER, None)
        for name in (AFTER, BEFORE):
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        order = [_turned(field) for field in keyset] if backwards else keyset
        rows = self.queryset.order_by(*order)
        if cursor and (beyond := _beyond(self.model, order, cursor)) is not None:
            rows = rows.filter(beyond)
        found = self.model_admin.fetch(request, rows, self.list_per_page + 1)
        more, found = len(found) > self.list_per_page, found[: self.list_per_page]
        if backwards:
            found.reverse()
        has_earlier, has_later = (more, True) if backwards else (bool(cursor), more)
        self.paginator = Pages(
            self.get_query_string({BEFORE: _cursor(found[0], keyset)}) if found and has_earlier else "",
            self.get_query_string({AFTER: _cursor(found[-1], keyset)}) if found and has_later else "",
            self.get_query_string() if cursor else "",
        )
        # As many as there are, so that the theme offers no "show all".
        self.result_list, self.result_count, self.full_result_count = found, len(found), len(found)
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = bool(found)


def _turned(field: str) -> str:
    return field[1:] if field.startswith("-") else f"-{field}"


def _cursor(row: Model, keyset: list[str]) -> str:
    values = [getattr(row, field.lstrip("-")) for field in keyset]
    return SEPARATOR.join(value.isoformat() if hasattr(value, "isoformat") else str(value) for value in values)


def _beyond(model: type[Model], order: list[str], cursor: str) -> Q | None:
    """Rows after the cursor in `order`; None for a cursor that nobody handed out, which shows the first page.

    The first condition alone is what an index answers; the others only break its ties.
    """
    if "\0" in cursor:
        # A text field takes it, and PostgreSQL does not.
        return None
    try:
        given = cursor.split(SEPARATOR)
        values = [
            model._meta.pk.to_python(text) if name == "pk" else _python(model, name, text)
            for name, text in zip((field.lstrip("-") for field in order), given, strict=True)
        ]
    except Exception:  # ValidationError, ValueError and whatever a field makes of rubbish
        return None
    lookup = "lt" if order[0].startswith("-") else "gt"
    names = [field.lstrip("-") for field in order]
    beyond = Q(**{f"{names[-1]}__{lookup}": values[-1]})
    for name, value in zip(reversed(names[:-1]), reversed(values[:-1]), strict=True):
        beyond = Q(**{f"{name}__{lookup}e": value}) & (Q(**{f"{name}__{lookup}": value}) | beyond)
    return beyond


def _python(model: type[Model], name: str, text: str) -> Any:
    field: Any = model._meta.get_field(name)
    value = field.to_python(text)
    if value is None:
        raise ValueError(text)
    return value
