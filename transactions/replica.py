"""Lists may be read from a replica, as long as it shows all that the primary had answered for by then."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections

from outbox.database_errors import reason_of

log = logging.getLogger(__name__)

ALIAS = "replica"
# How long (seconds) a list waits for the replica to catch up, and how often it looks.
PATIENCE_SECONDS, LOOK_SECONDS = 0.1, 0.005
# A replica that failed or lags is left alone for so long, so that not every list waits for it.
REST_SECONDS = 5.0

# False: it is behind. NULL: it is no replica (it was promoted, or the URL leads to some other primary).
_HAS = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() >= %s::pg_lsn END"

Found = TypeVar("Found")


class NotUsableError(Exception):
    """The replica is behind, or none."""


class Replica:
    """One for each process: it finds out by itself."""

    def __init__(self) -> None:
        self.rest_until = 0.0

    def read(self, query: Callable[[str], Found]) -> Found:
        """`query` with the alias of the database to ask; when the replica fails or lags, once more with the primary's.

        What anybody was told before this call, on whichever server and process, is in what is read: the replica must have
        replayed as much as the primary has written by now. Raises what `query` raises on the primary.
        """
        if ALIAS in settings.DATABASES and time.monotonic() >= self.rest_until:
            written = _written()
            try:
                _wait_for(written)
                return query(ALIAS)
            except (DatabaseError, InterfaceError, NotUsableError) as error:
                # Also what only a replica does: it ends a query that stands in the way of what it has to replay.
                self.rest_until = time.monotonic() + REST_SECONDS
                connections[ALIAS].close()
                log.warning("lists are read from the primary", extra={"reason": reason_of(error)[:200]})
        return query(DEFAULT_DB_ALIAS)


def _written() -> str:
    """How far the primary's log is written: behind each COMMIT that was answered (synchronous_commit is not `off`)."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_lsn()::text")
        return str(cursor.fetchone()[0])


def _wait_for(written: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(_HAS, [written])
            (has,) = cursor.fetchone()
        if has:
            return
        if has is None:
            raise NotUsableError("DATABASE_REPLICA_URL leads to a server that is no replica.")
        if time.monotonic() > until:
            raise NotUsableError(f"It is more than {PATIENCE_SECONDS} s behind.")
        time.sleep(LOOK_SECONDS)


lists = Replica()
