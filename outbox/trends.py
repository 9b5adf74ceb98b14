"""Events sent over time, and why others were not; read-only, at a bounded price whatever the traffic."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from django.db import connection
from django.db.models import Q

from outbox.models import OutboxMessage

# Rows counted per stretch of time. More makes busy stretches exact and the page slower; beyond it the rate is projected.
COUNT_AT_MOST = 1000
# Rows read for their reasons: what fails now fails for few reasons.
REASONS_AMONG = 500
# Characters of a reason; what comes after tells single cases apart and not causes.
REASON_LENGTH = 160


@dataclass(frozen=True, slots=True)
class Count:
    """How many in one stretch; not `exact` where only the first COUNT_AT_MOST were counted and the rest projected."""

    number: int
    exact: bool = True


def project(counted: int, start: datetime, end: datetime, last: datetime | None) -> Count:
    """`counted` rows between `start` and `last`, at the same rate until `end`, if counting stopped at its limit."""
    if counted < COUNT_AT_MOST or last is None:
        return Count(counted)
    covered = max((last - start).total_seconds(), 0.001)
    return Count(max(counted, round(counted * (end - start).total_seconds() / covered)), exact=False)


_SENT = """
    SELECT {place}, count(*), max(published_at)
      FROM (SELECT published_at FROM outbox_outboxmessage
             WHERE state = 'published' AND published_at >= %s AND published_at < %s
             ORDER BY published_at LIMIT %s) AS part
"""


def sent(edges: Sequence[datetime]) -> list[Count]:
    """Events confirmed between each two neighbours of `edges`, in one statement."""
    adapt = connection.ops.adapt_datetimefield_value
    stretches = list(pairwise(edges))
    parts = [_SENT.format(place=place) for place in range(len(stretches))]
    values = [value for start, end in stretches for value in (adapt(start), adapt(end), COUNT_AT_MOST)]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        found = {place: (count, last) for place, count, last in cursor.fetchall()}
    return [
        project(found[place][0], start, end, moment(found[place][1])) for place, (start, end) in enumerate(stretches)
    ]


def moment(value: datetime | str | None) -> datetime | None:
    """What a raw query answers for a time: PostgreSQL a datetime, SQLite one without a zone or its text, both in UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def reasons() -> Counter[tuple[str, str]]:
    """(state, reason) of dead events that nobody discarded and of events that failed and are tried again."""
    failing = OutboxMessage.objects.exclude(error="").filter(Q(state="dead", discarded=False) | Q(state="pending"))
    newest = failing.order_by("-id").values_list("state", "error")[:REASONS_AMONG]
    return Counter((state, error[:REASON_LENGTH]) for state, error in newest)
