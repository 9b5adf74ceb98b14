"""Lets a request in: who sent it, and may they send it now. One round trip on PostgreSQL, the first of each request."""

from typing import Any

from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from transactions import clients, rate_limit
from transactions.clients import LAST_USED_SECONDS, Caller
from transactions.models import ApiKey

# One statement, because each round trip costs as much as the work in it. The key is looked up by its hash and nothing
# is cached, so a revocation acts at once; the UPDATE is atomic, so processes cannot overspend together.
_ADMIT = """
    WITH caller AS (
        SELECT k.id, k.client_id, c.name,
               k.last_used_at IS NULL OR k.last_used_at < statement_timestamp() - make_interval(secs => %s) AS stale
          FROM transactions_apikey k JOIN transactions_apiclient c ON c.id = k.client_id
         WHERE k.hash = %s AND k.revoked_at IS NULL AND c.active
           AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp())
    ), spent AS (
        UPDATE transactions_clientrate r
           SET spent_until = GREATEST(r.spent_until, extract(epoch FROM clock_timestamp())) + %s
          FROM caller
         WHERE r.client_id = caller.client_id AND r.spent_until <= extract(epoch FROM clock_timestamp()) + %s
        RETURNING r.client_id
    )
    SELECT id, client_id, name, stale, EXISTS (SELECT FROM spent) FROM caller
"""


def admit(key: str) -> tuple[Caller | None, float | None]:
    """The caller for `key`, or None; and the seconds to wait when the client is over its rate, else None."""
    if connection.vendor != "postgresql":
        caller = clients.authenticate(key)
        return caller, None if caller is None else rate_limit.take(caller.id)
    row = _first_statement(_ADMIT, [LAST_USED_SECONDS, clients.digest(key), *rate_limit.interval_and_tolerance()])
    if row is None:
        return None, None
    key_id, client_id, name, stale, granted = row
    if stale:
        ApiKey.objects.filter(pk=key_id).update(last_used_at=timezone.now())
    # Refused, or the client has no row yet (a crash empties the table): the slow path tells which.
    return Caller(client_id, name, key_id), None if granted else rate_limit.take(client_id)


def _first_statement(sql: str, parameters: list[Any]) -> tuple[Any, ...] | None:
    """Runs a request's first statement, once more on a new connection if the kept one turns out to be dead.

    That is the health check of CONN_HEALTH_CHECKS without its round trip; the statement may run twice, harmlessly.
    """
    kept = connection.connection is not None and not connection.in_atomic_block
    if kept:
        connection.health_check_done = True  # type: ignore[attr-defined]
    try:
        return _fetch(sql, parameters)
    except (OperationalError, InterfaceError):
        if not kept or connection.is_usable():
            raise
        connection.close()
        return _fetch(sql, parameters)


def _fetch(sql: str, parameters: list[Any]) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row
