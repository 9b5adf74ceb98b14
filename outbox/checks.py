"""System checks of the outbox's tables on PostgreSQL: partitions and autovacuum. `migrate` and `check --database` run them."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import connections

from outbox import partitions
from outbox.clock import database_now

_AUTOVACUUM = "SELECT current_setting('autovacuum'), reloptions FROM pg_class WHERE oid = to_regclass(%s)"
_OVERFLOW = f"SELECT EXISTS (SELECT FROM {partitions.REST})"  # noqa: S608 - a constant


@register(Tags.database)
def archive_is_partitioned(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """outbox.W001: no partition for next week, or rows that none took: published events would not be dropped by the week."""
    if not (there := _partitions(databases)):
        return []
    next_week = partitions.week_of(database_now()) + partitions.WEEK
    covered = any(end is not None and end > next_week for end in there.values())
    with connections["default"].cursor() as cursor:
        cursor.execute(_OVERFLOW)
        overflow = cursor.fetchone()[0]
    if covered and not overflow:
        return []
    return [
        Warning(
            f"{partitions.REST} holds published events that belong to no week."
            if overflow
            else f"{partitions.ARCHIVE} has no partition for the coming week.",
            hint="Run `manage.py outbox prune` (beat does it every ten minutes) as a role that owns the outbox's tables.",
            id="outbox.W001",
        )
    ]


@register(Tags.database)
def autovacuum_is_set(app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """outbox.W002: without it a claim steps over every dead version of every event since the last VACUUM."""
    if not _partitions(databases):
        return []
    with connections["default"].cursor() as cursor:
        cursor.execute(_AUTOVACUUM, [partitions.WAITING])
        server, options = cursor.fetchone()
    if server != "on":
        hint = "Set autovacuum = on in postgresql.conf."
        return [Warning("The PostgreSQL server has autovacuum switched off.", hint=hint, id="outbox.W002")]
    set_here = dict(option.split("=", 1) for option in options or ())
    missing = [f"{name} = {value}" for name, value in partitions.AUTOVACUUM.items() if name not in set_here]
    if not missing:
        return []
    return [
        Warning(
            f"{partitions.WAITING} lacks autovacuum settings that the outbox was measured with.",
            hint=f"ALTER TABLE {partitions.WAITING} SET ({', '.join(missing)});",
            id="outbox.W002",
        )
    ]


def _partitions(databases: Sequence[str] | None) -> dict[str, Any]:
    """Empty where there is nothing to check: another database, another engine, before the first migration."""
    return partitions.partitions() if "default" in (databases or ()) else {}
