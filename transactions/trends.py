"""What became of the transactions of each stretch of time, how quickly, and why some failed; read-only, bounded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.db import connection

from outbox.ids import first_at, time_of
from outbox.trends import COUNT_AT_MOST, Count, project

# Transactions read per stretch for status, latency and error; busier stretches are judged by their first ones.
SAMPLE = 100

# An id holds the time it was made: the primary key answers questions about time.
_COHORT = """
    SELECT {place}, count(*), {last}, NULL, NULL, NULL
      FROM (SELECT id FROM transactions_transaction WHERE id >= %s AND id < %s ORDER BY id LIMIT %s) AS counted
     UNION ALL
    SELECT {place}, NULL, NULL, status, seconds, code
      FROM (SELECT status, {seconds} AS seconds, CASE WHEN status = 'failed' THEN {code} END AS code
              FROM transactions_transaction WHERE id >= %s AND id < %s ORDER BY id LIMIT %s) AS sampled
"""
_DIALECT = {
    "postgresql": {
        # They come in order. max() would have to compare them as text, which costs more than the count.
        "last": "((array_agg(id))[count(*)])::text",
        "seconds": "extract(epoch FROM processed_at - created_at)",
        "code": "error ->> 'code'",
    },
    "sqlite": {
        "last": "max(id)",
        "seconds": "(julianday(processed_at) - julianday(created_at)) * 86400",
        "code": "json_extract(error, '$.code')",
    },
}


@dataclass(slots=True)
class Cohort:
    """What was submitted in one stretch, and what is known by now of those that were read."""

    submitted: Count
    read: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def settled(self) -> int:
        """How many of all submitted have their result; a canceled one awaits none."""
        done = self.statuses["succeeded"] + self.statuses["failed"]
        return round(self.submitted.number * done / self.read) if self.read else 0

    def weigh(self, count: int) -> int:
        """`count` of those read, as a number of all submitted."""
        return round(count * self.submitted.number / self.read) if self.read else 0


def cohorts(edges: Sequence[datetime]) -> list[Cohort]:
    """One for each two neighbours of `edges`, in one statement; index ranges only, so a million rows cost the same."""
    vendor = connection.vendor
    stretches = list(pairwise(edges))
    parts = [_COHORT.format(place=place, **_DIALECT[vendor]) for place in range(len(stretches))]
    values: list[Any] = []
    for stretch in stretches:
        ids = [str(first_at(edge)) if vendor == "postgresql" else first_at(edge).hex for edge in stretch]
        values += [*ids, COUNT_AT_MOST, *ids, SAMPLE]
    found: list[Cohort] = []
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        rows = cursor.fetchall()
    for place, count, last, *_ in (row for row in sorted(rows, key=lambda row: int(row[0])) if row[1] is not None):
        start, end = stretches[place]
        found.append(Cohort(project(count, start, end, time_of(UUID(last)) if last else None)))
    for place, count, _, status, seconds, code in rows:
        if count is None:
            _add(found[place], status, seconds, code)
    return found


def _add(cohort: Cohort, status: str, seconds: float | None, code: str | None) -> None:
    cohort.read += 1
    cohort.statuses[status] += 1
    if seconds is not None:
        cohort.seconds.append(float(seconds))
    if status == "failed":
        cohort.codes[str(code or "unknown")[:100]] += 1
