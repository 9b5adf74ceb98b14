"""Per-client rate limit over all processes: one conditional UPDATE per request (GCRA, a leaky bucket as a clock)."""

import math
import time

from django.conf import settings
from django.db import connection

from transactions.models import ClientRate


def interval_and_tolerance() -> tuple[float, float]:
    """Seconds that one request costs, and how far ahead of the clock a client may have spent (its burst)."""
    interval = 1.0 / settings.API_RATE_PER_SECOND
    return interval, (settings.API_RATE_BURST - 1) * interval


def take(client_id: int) -> float | None:
    """Spends one request of the client's allowance. None when granted, else the seconds after which to come back.

    The UPDATE is atomic in the database, so processes cannot overspend together (DRF's cache throttle can).
    """
    if _spend(client_id):
        return None
    rate, created = ClientRate.objects.get_or_create(client_id=client_id)
    interval, tolerance = interval_and_tolerance()
    wait = rate.spent_until - tolerance - time.time()
    if created or not 0 < wait <= interval:
        # There was no row (a crash or a failover empties the table), and perhaps another request made it; or a clock was
        # put right: nobody waits for longer than one request costs.
        _forgive(client_id)
        if _spend(client_id):
            return None
    return max(1, math.ceil(min(wait, interval)))


def _spend(client_id: int) -> bool:
    interval, tolerance = interval_and_tolerance()
    now, parameters = _now()
    greatest = "GREATEST" if connection.vendor == "postgresql" else "MAX"
    sql = (
        f"UPDATE transactions_clientrate SET spent_until = {greatest}(spent_until, {now}) + %s "  # noqa: S608
        f"WHERE client_id = %s AND spent_until <= {now} + %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*parameters, interval, client_id, *parameters, tolerance])
        return bool(cursor.rowcount)


def _forgive(client_id: int) -> None:
    """Brings what was spent under a clock that was ahead down to one full burst, which is the most that can be spent."""
    interval, tolerance = interval_and_tolerance()
    now, parameters = _now()
    burst = tolerance + interval
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE transactions_clientrate SET spent_until = {now} + %s WHERE client_id = %s AND spent_until > {now} + %s",  # noqa: S608
            [*parameters, burst, client_id, *parameters, burst],
        )


def _now() -> tuple[str, list[float]]:
    """SQL for the database's clock, with its parameters; SQLite is in this process, and so is its clock."""
    if connection.vendor == "postgresql":
        return "extract(epoch FROM clock_timestamp())", []
    return "%s", [time.time()]
