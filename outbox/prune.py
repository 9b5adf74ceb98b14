"""Drops published events past their retention: whole partitions on PostgreSQL, rows in batches elsewhere, oldest first."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from outbox import partitions
from outbox.clock import database_now

# Rows in one DELETE: short enough to hold no lock for long.
BATCH = 5000

_DELETE = """
    DELETE FROM {table} WHERE id IN (
           SELECT id FROM {table} WHERE state = 'published' AND published_at < %s ORDER BY published_at LIMIT %s)
"""


def prune_once(keep_days: int | None = None) -> int:
    """One step; returns how many rows and partitions went. Pending and dead events are never touched.

    Also makes the partitions of the coming weeks.
    """
    now = database_now()
    before = now - timedelta(days=settings.OUTBOX_KEEP_DAYS if keep_days is None else keep_days)
    if not (there := partitions.bounds()):
        return _delete(partitions.TABLE, before)
    partitions.make_ahead(now)
    dropped = partitions.drop_until(before)
    # Those whose end has passed are gone.
    loose = [name for name, its in there.items() if its.loose and (its.end is None or its.end > before)]
    return dropped + sum(_delete(name, before) for name in loose)


def _delete(table: str, before: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_DELETE.format(table=table), [before, BATCH])
        return int(cursor.rowcount)
