"""Whose turn it is within a key: finds the earlier event that is not delivered yet. Reads only."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Q

from outbox.models import OutboxMessage

_EARLIER = """
    SELECT wanted.key, earlier.sequence, earlier.state, earlier.due_at, earlier.lease_token IS NOT NULL
      FROM unnest(%s::text[], %s::bigint[]) AS wanted(key, sequence)
     CROSS JOIN LATERAL (
           SELECT sequence, state, due_at, lease_token FROM outbox_outboxmessage AS m
            WHERE m.key = wanted.key AND m.sequence < wanted.sequence
              AND (m.state = 'pending' OR (%s AND m.state = 'dead' AND NOT m.discarded)) AND m.id <> ALL(%s::uuid[])
            ORDER BY m.sequence LIMIT 1) AS earlier
"""


class Row(NamedTuple):
    """What a claim reads; the first eight are StoredEvent's fields."""

    id: UUID
    topic: str
    type: str
    key: str
    sequence: int
    body: str
    attempts: int
    created_at: datetime
    due_at: datetime
    lease_token: UUID | None
    error: str


class Earlier(NamedTuple):
    sequence: int
    state: str
    due_at: datetime
    leased: bool


def earlier_in_other_hands(rows: Sequence[Row]) -> dict[str, Earlier]:
    """For each key the first undelivered event that is not among `rows` and precedes one of them.

    Read after the rows were locked, so it is never too old.
    """
    last: dict[str, int] = {}
    for row in rows:
        last[row.key] = max(row.sequence, last.get(row.key, row.sequence))
    if connection.vendor == "postgresql":
        # One array as one parameter: 500 of their own cost more than the query.
        mine = "{" + ",".join([str(row.id) for row in rows]) + "}"
        dead_too = bool(settings.OUTBOX_DEAD_BLOCKS_KEY)
        with connection.cursor() as cursor:
            cursor.execute(_EARLIER, [list(last), list(last.values()), dead_too, mine])
            return {key: Earlier(*columns) for key, *columns in cursor.fetchall()}
    blocks = Q(state=OutboxMessage.State.PENDING)
    if settings.OUTBOX_DEAD_BLOCKS_KEY:
        blocks |= Q(state=OutboxMessage.State.DEAD, discarded=False)
    found: dict[str, Earlier] = {}
    for key, sequence in last.items():
        first = (
            OutboxMessage.objects.filter(blocks, key=key, sequence__lt=sequence)
            .exclude(id__in=[row.id for row in rows if row.key == key])
            .order_by("sequence")
            .values_list("sequence", "state", "due_at", "lease_token")
            .first()
        )
        if first is not None:
            found[key] = Earlier(first[0], first[1], first[2], first[3] is not None)
    return found
