"""Published events on PostgreSQL: partitions of a week, made ahead and dropped whole. Other engines have none.

One table to the ORM. Below it `outbox_waiting` holds what is pending or dead, and `outbox_archive` what is published, by
week. The UPDATE that marks an event published moves it. So the table that claims work on stays as small as the backlog.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db import IntegrityError, OperationalError, ProgrammingError, connection, transaction

log = logging.getLogger(__name__)

TABLE, WAITING, ARCHIVE = "outbox_outboxmessage", "outbox_waiting", "outbox_archive"
# Takes what no week covers. Has rows only when nobody made partitions in time. A few go to their week as it is made; with more
# it becomes a partition itself, as it stands.
REST = "outbox_archive_rest"
# What was there before there were partitions; dropped like a week once the last of it is past its retention.
FIRST = "outbox_archive_first"
# This week's partition and so many more exist in advance: the time that the prune task may stand still.
WEEKS_AHEAD = 2
WEEK = timedelta(weeks=1)
# How long to wait for the lock (milliseconds). Whoever settles events waits behind us meanwhile; the next tick tries again.
LOCK_MS = 300
# So many rows of REST move to their week under the exclusive lock: half a second. All of 230,000 would meet the statement
# timeout, each time, and hold every settlement up until then, so that leases end and events are published again.
MOVE_AT_MOST = 10_000
# What the rows of REST are all proved to lie within, before it becomes a partition; there for seconds, while that goes on.
BOUNDS = "outbox_archive_rest_bounds"
# How long that proof may take. Nobody waits for it.
VALIDATE_TIMEOUT = "10min"

# Its rows live for seconds and each leaves two dead versions, so that a share of its size says nothing.
AUTOVACUUM = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "5000",
}

_LEAVES = """
    SELECT c.relname, substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \\(''([^'']+)''\\)')::timestamptz,
           substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''([^'']+)''\\)')::timestamptz
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(%s)
     ORDER BY 3 NULLS LAST
"""
_REST = f"""
    SELECT (SELECT count(*) FROM (SELECT FROM {REST} LIMIT {MOVE_AT_MOST + 1}) AS a),
           (SELECT min(published_at) FROM {REST}), (SELECT max(published_at) FROM {REST}),
           EXISTS (SELECT FROM pg_constraint WHERE conrelid = '{REST}'::regclass AND conname = '{BOUNDS}')
"""  # noqa: S608 - constants
_INDEXES = """
    CREATE INDEX {name}_key ON {name} (key, sequence);
    CREATE INDEX {name}_at ON {name} (published_at);
"""
_NEW_WEEK = f"""
    SET LOCAL lock_timeout = {LOCK_MS};
    CREATE TABLE {{name}} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (id));
    {_INDEXES.format(name="{name}")}
    LOCK TABLE {REST} IN ACCESS EXCLUSIVE MODE;
    WITH moved AS (
        DELETE FROM {REST} WHERE published_at >= '{{start}}' AND published_at < '{{end}}' RETURNING *
    ) INSERT INTO {{name}} SELECT * FROM moved;
    ALTER TABLE {ARCHIVE} ATTACH PARTITION {{name}} FOR VALUES FROM ('{{start}}') TO ('{{end}}')
"""  # noqa: S608 - constants and dates

# The condition is that of the partition to be, word for word: PostgreSQL takes it for granted then, instead of reading all
# rows under the lock. NOT VALID: it holds for new rows at once, and for the old ones once they were read, without that lock.
_BOUND = f"""
    SET LOCAL lock_timeout = {LOCK_MS};
    ALTER TABLE {REST} ADD CONSTRAINT {BOUNDS} CHECK (state IS NOT NULL AND state = 'published' AND published_at IS NOT NULL
        AND published_at >= '{{start}}' AND published_at < '{{end}}') NOT VALID
"""
_VALIDATE = f"SET LOCAL statement_timeout = '{VALIDATE_TIMEOUT}'; ALTER TABLE {REST} VALIDATE CONSTRAINT {BOUNDS}"
_UNBOUND = f"SET LOCAL lock_timeout = {LOCK_MS}; ALTER TABLE {REST} DROP CONSTRAINT IF EXISTS {BOUNDS}"
# The first thing under the lock: another `prune` may have taken the constraint for left behind, and all rows would be read.
_TURN = f"""
    SET LOCAL lock_timeout = {LOCK_MS};
    LOCK TABLE {ARCHIVE} IN ACCESS EXCLUSIVE MODE;
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_constraint
                        WHERE conrelid = '{REST}'::regclass AND conname = '{BOUNDS}' AND convalidated) THEN
            RAISE EXCEPTION 'another prune is at it' USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END $$;
    ALTER TABLE {ARCHIVE} DETACH PARTITION {REST};
    ALTER TABLE {REST} RENAME TO {{name}};
    ALTER INDEX {REST}_pkey RENAME TO {{name}}_pkey;
    ALTER INDEX {REST}_key RENAME TO {{name}}_key;
    ALTER INDEX {REST}_at RENAME TO {{name}}_at;
    CREATE TABLE {REST} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (id));
    {_INDEXES.format(name=REST)}
    ALTER TABLE {ARCHIVE} ATTACH PARTITION {REST} DEFAULT;
    ALTER TABLE {ARCHIVE} ATTACH PARTITION {{name}} FOR VALUES FROM ('{{start}}') TO ('{{end}}');
    ALTER TABLE {{name}} DROP CONSTRAINT {BOUNDS}
"""  # noqa: S608 - constants and dates


class Bounds(NamedTuple):
    """From when until when a partition's events were published; None where that has no limit."""

    start: datetime | None
    end: datetime | None

    def covers(self, moment: datetime) -> bool:
        """Whether what is published at `moment` goes here; REST, which has no end, covers nothing."""
        return self.end is not None and moment < self.end and (self.start is None or self.start <= moment)

    @property
    def loose(self) -> bool:
        """Not a week, so that it is dropped late or never: its rows are deleted one by one."""
        return self.start is None or self.end is None or self.end - self.start > WEEK


def bounds() -> dict[str, Bounds]:
    """The partitions of published events, oldest first; empty where there are none."""
    if connection.vendor != "postgresql":
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_LEAVES, [ARCHIVE])
        return {name: Bounds(start, end) for name, start, end in cursor.fetchall()}


def partitions() -> dict[str, datetime | None]:
    """The partitions of published events, oldest first, with the moment where each ends; empty where there are none."""
    return {name: there.end for name, there in bounds().items()}


def week_of(moment: datetime) -> datetime:
    """The Monday, 00:00 UTC, on or before `moment`."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def missing(now: datetime) -> list[datetime]:
    """The Mondays of this week and the next ones that have no partition."""
    return _missing(bounds(), now)


def make_ahead(now: datetime) -> int:
    """Makes what is missing of this week's partition and the next ones; returns how many were made."""
    there, made = bounds(), 0
    if not there:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_REST)
        rows, first, last, bound = cursor.fetchone()
    if bound and not _changed(_UNBOUND, REST):
        # Of another `prune`, which is at it; or of one that was killed, and the next tick tries again.
        return 0
    if rows > MOVE_AT_MOST:
        if not _turn(there, now, first, last):
            return 0
        there, made = bounds(), 1
    for start in _missing(there, now):
        name = f"{ARCHIVE}_{start:%Y%m%d}"
        made += _changed(_NEW_WEEK.format(name=name, start=start, end=start + WEEK), name)
    return made


def _missing(there: dict[str, Bounds], now: datetime) -> list[datetime]:
    weeks = [week_of(now) + number * WEEK for number in range(WEEKS_AHEAD + 1)] if there else []
    return [start for start in weeks if not any(partition.covers(start) for partition in there.values())]


def _turn(there: dict[str, Bounds], now: datetime, first: datetime, last: datetime) -> bool:
    """Makes REST, as it stands, the partition of the weeks that its rows are of, and an empty one in its place.

    No row is moved, and the exclusive lock is held for the change of names alone.
    """
    start, end = week_of(first), week_of(last) + WEEK
    if not any(partition.covers(now) for partition in there.values()):
        # New rows come still. The constraint must not refuse one, even if we are killed and nobody tidies up for days.
        later = [
            partition.start for partition in there.values() if partition.start is not None and partition.start > now
        ]
        end = max(end, min([*later, week_of(now) + (WEEKS_AHEAD + 1) * WEEK]))
    name = f"{ARCHIVE}_{start:%Y%m%d}"
    for other, its in there.items():
        if its.end is not None and its.end > start and (its.start is None or its.start < end):
            reason = f"its rows are of {start:%Y-%m-%d} to {end:%Y-%m-%d}, among them the weeks of {other}"
            log.warning("partition unchanged; the next tick tries again", extra={"partition": REST, "reason": reason})
            return False
    turned = False
    try:
        turned = (
            _changed(_BOUND.format(start=start, end=end), REST)
            and _changed(_VALIDATE, REST)
            and _changed(_TURN.format(name=name, start=start, end=end), name)
        )
    finally:
        if not turned:
            _changed(_UNBOUND, REST)
    return turned


def drop_until(before: datetime) -> int:
    """Drops the partitions that end at or before `before`; returns how many. Only published events live in them."""
    expired = [name for name, end in partitions().items() if end is not None and end <= before]
    return sum(_changed(f"SET LOCAL lock_timeout = {LOCK_MS}; DROP TABLE {name}", name) for name in expired)


def _changed(statements: str, name: str) -> bool:
    """Whether it went through. It may be held up by somebody who reads, or not be ours to do; nothing is lost by either."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statements)
    except (OperationalError, ProgrammingError, IntegrityError) as error:
        reason = str(error).splitlines()[0]
        log.warning("partition unchanged; the next tick tries again", extra={"partition": name, "reason": reason})
        return False
    return True
