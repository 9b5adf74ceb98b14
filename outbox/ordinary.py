"""The ordinary pass on PostgreSQL: claim and settle as one call of a database function each (docs/decisions/0009).

Ordinary: nothing due was tried before or left behind by a dead relay, no key has an earlier event in other hands, and all
of the batch was confirmed. Whatever is not ordinary is decided in `claim`, for every engine the same.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import connection

from outbox.turns import Row

# Parked events of one key released at once. All 20,000 of a hot key would be the work of forty batches, each time.
RELEASE_PER_KEY = 1000


def claim(*, limit: int, lease_seconds: float, relay: str, after: datetime | None, token: UUID) -> list[Row] | None:
    """Claims all that is due, up to `limit`, if it is ordinary; None, with nothing changed, if it is not.

    The rows are as they were before, in the order in which they came due.
    """
    values = (limit, after, lease_seconds, token, relay, bool(settings.OUTBOX_DEAD_BLOCKS_KEY))
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM outbox_claim_v1(%s, %s, %s, %s, %s, %s)", values)
        found = cursor.fetchall()
    if found and found[0][0] is None:
        return None
    return [Row._make((*columns, None, "")) for columns in found]


def settle(ids: Iterable[UUID], keys: Collection[str], *, token: UUID, channel: str, confirm_ms: int) -> int:
    """Marks those of `ids` published that still carry `token`, and lets what waits for `keys` look again."""
    values = (_array(ids), token, channel, confirm_ms, list(keys), RELEASE_PER_KEY)
    with connection.cursor() as cursor:
        cursor.execute("SELECT outbox_settle_v1(%s, %s, %s, %s, %s, %s)", values)
        return int(cursor.fetchone()[0])


def release(keys: Collection[str]) -> None:
    """Lets what is parked behind these keys look again now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT outbox_release_v1(%s, %s)", [list(keys), RELEASE_PER_KEY])


def _array(ids: Iterable[UUID]) -> str:
    """As text, which is cheaper than a list of UUIDs."""
    return "{" + ",".join([str(value) for value in ids]) + "}"
