"""The filter "how old": a time becomes a range of ids, which the primary key answers however long the ledger is."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db import connection
from django.db.models import Model, QuerySet, UUIDField
from django.http import HttpRequest

from outbox.ids import first_at

_AGES = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
_WORDS = {"5m": "5 minutes", "1h": "an hour", "24h": "24 hours", "7d": "7 days"}
# Of our ledgers, of Django's audit log, of Celery's task results.
TIME_FIELDS = ("received_at", "created_at", "at", "action_time", "date_created")

# Ids that count up are in order of time but for neighbours: each step halves the range by one look at the primary key.
_SEARCH = """
    WITH RECURSIVE search(low, high) AS (
        SELECT min({pk}), max({pk}) + 1 FROM {table}
        UNION ALL
        SELECT CASE WHEN (SELECT {time} FROM {table} WHERE {pk} >= (low + high) / 2 ORDER BY {pk} LIMIT 1) < %(moment)s
                    THEN (SELECT {pk} FROM {table} WHERE {pk} >= (low + high) / 2 ORDER BY {pk} LIMIT 1) + 1
                    ELSE low END,
               CASE WHEN (SELECT {time} FROM {table} WHERE {pk} >= (low + high) / 2 ORDER BY {pk} LIMIT 1) < %(moment)s
                    THEN high ELSE (low + high) / 2 END
          FROM search WHERE low < high)
    SELECT low FROM search WHERE low >= high
"""


def id_at(model: type[Model], time_field: str, moment: datetime) -> Any:
    """The first primary key at or after `moment`; None for an empty table."""
    pk: Any = model._meta.pk
    if isinstance(pk, UUIDField):
        return first_at(moment)
    time: Any = model._meta.get_field(time_field)
    quote = connection.ops.quote_name
    names = {"table": quote(model._meta.db_table), "pk": quote(pk.column), "time": quote(time.column)}
    with connection.cursor() as cursor:
        cursor.execute(_SEARCH.format(**names), {"moment": connection.ops.adapt_datetimefield_value(moment)})
        found = cursor.fetchone()
    return found[0] if found else None


class AgeFilter(admin.SimpleListFilter):
    """Newer or older than; and, by link from other pages, between two moments."""

    title = "age"
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Both sides of each age."""
        newer = [(name, f"Last {words}".replace("Last an ", "Last ")) for name, words in _WORDS.items()]
        return [*newer, *((f"older-{name}", f"Older than {words}") for name, words in _WORDS.items())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Ids from or up to the moment. A value that nobody offered changes nothing."""
        older, _, name = (self.value() or "").rpartition("-")
        if name not in _AGES or older not in {"", "older"}:
            return queryset
        first = id_at(queryset.model, self.time_field(queryset.model), datetime.now(UTC) - _AGES[name])
        if first is None:
            return queryset
        return queryset.filter(pk__lt=first) if older else queryset.filter(pk__gte=first)

    @staticmethod
    def time_field(model: type[Model]) -> str:
        """What says when a row was made."""
        known = {field.name for field in model._meta.get_fields()}
        return next(name for name in TIME_FIELDS if name in known)
