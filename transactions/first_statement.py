"""Runs a statement on a kept connection that may have died: once more on a new one, instead of a ping before each."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper


def first_row(sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The first row of `sql`'s answer. The statement may run twice: only for such as may.

    That is the health check of CONN_HEALTH_CHECKS without its round trip: restarts are rare, requests are not.
    """
    # The thread's own one: each look through the proxy `django.db.connection` finds it anew.
    connection = connections[DEFAULT_DB_ALIAS]
    kept = connection.connection is not None and not connection.in_atomic_block
    if kept:
        connection.health_check_done = True  # type: ignore[attr-defined]
    try:
        return _fetch(connection, sql, parameters)
    except (OperationalError, InterfaceError):
        if not kept or connection.is_usable():
            raise
        connection.close()
        return _fetch(connection, sql, parameters)


def _fetch(
    connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any] | Mapping[str, Any]
) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row
