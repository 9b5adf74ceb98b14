"""Published events on PostgreSQL: partitions of a week, made ahead and dropped whole. Other engines have none.

One table to the ORM. Below it `outbox_waiting` holds what is pending or dead, and `outbox_archive` what is published, by
week. The UPDATE that marks an event published moves it. So the table that claims work on stays as small as the backlog.
"""

import logging
from datetime import UTC, datetime, timedelta

from django.db import OperationalError, ProgrammingError, connection, transaction

log = logging.getLogger(__name__)

TABLE, WAITING, ARCHIVE = "outbox_outboxmessage", "outbox_waiting", "outbox_archive"
# Takes what no week covers. Has rows only when nobody made partitions in time; they go to their week as it is made.
REST = "outbox_archive_rest"
# What was there before there were partitions; dropped like a week once the last of it is past its retention.
FIRST = "outbox_archive_first"
# This week's partition and so many more exist in advance: the time that the prune task may stand still.
WEEKS_AHEAD = 2
WEEK = timedelta(weeks=1)
# How long to wait for the lock (milliseconds). Whoever settles events waits behind us meanwhile; the next tick tries again.
LOCK_MS = 300

# Its rows live for seconds and each leaves two dead versions, so that a share of its size says nothing.
AUTOVACUUM = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "5000",
}

_LEAVES = """
    SELECT c.relname, substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''([^'']+)''\\)')::timestamptz
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(%s)
     ORDER BY 2 NULLS LAST
"""
_NEW_WEEK = f"""
    SET LOCAL lock_timeout = {LOCK_MS};
    CREATE TABLE {{name}} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (id));
    CREATE INDEX {{name}}_key ON {{name}} (key, sequence);
    CREATE INDEX {{name}}_at ON {{name}} (published_at);
    LOCK TABLE {REST} IN ACCESS EXCLUSIVE MODE;
    WITH moved AS (
        DELETE FROM {REST} WHERE published_at >= '{{start}}' AND published_at < '{{end}}' RETURNING *
    ) INSERT INTO {{name}} SELECT * FROM moved;
    ALTER TABLE {ARCHIVE} ATTACH PARTITION {{name}} FOR VALUES FROM ('{{start}}') TO ('{{end}}')
"""  # noqa: S608 - constants and dates


def partitions() -> dict[str, datetime | None]:
    """The partitions of published events, oldest first, with the moment where each ends; empty where there are none."""
    if connection.vendor != "postgresql":
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_LEAVES, [ARCHIVE])
        return dict(cursor.fetchall())


def week_of(moment: datetime) -> datetime:
    """The Monday, 00:00 UTC, on or before `moment`."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def make_ahead(now: datetime) -> int:
    """Makes what is missing of this week's partition and the next ones; returns how many were made."""
    there, made = partitions(), 0
    if not there:
        return 0
    covered = there.get(FIRST)
    for number in range(WEEKS_AHEAD + 1):
        start = week_of(now) + number * WEEK
        name = f"{ARCHIVE}_{start:%Y%m%d}"
        if name not in there and (covered is None or start >= covered):
            made += _changed(_NEW_WEEK.format(name=name, start=start, end=start + WEEK), name)
    return made


def drop_until(before: datetime) -> int:
    """Drops the partitions that end at or before `before`; returns how many. Only published events live in them."""
    expired = [name for name, end in partitions().items() if end is not None and end <= before]
    return sum(_changed(f"SET LOCAL lock_timeout = {LOCK_MS}; DROP TABLE {name}", name) for name in expired)


def _changed(statements: str, name: str) -> bool:
    """Whether it went through. It may be held up by somebody who reads, or not be ours to do; nothing is lost by either."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statements)
    except (OperationalError, ProgrammingError) as error:
        reason = str(error).splitlines()[0]
        log.warning("partition unchanged; the next tick tries again", extra={"partition": name, "reason": reason})
        return False
    return True
