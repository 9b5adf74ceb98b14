"""The database's clock: leases and due times must not depend on any process's."""

from datetime import UTC, datetime

from django.db import connections


def database_now(using: str = "default", *, statement_milliseconds: int | None = None) -> datetime:
    """The wall clock of the database, aware, in UTC. One round trip.

    `statement_milliseconds`: so long each later statement of this transaction may take, on PostgreSQL; in the same round trip.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")
            return datetime.fromisoformat(cursor.fetchone()[0]).replace(tzinfo=UTC)
        if statement_milliseconds is None:
            cursor.execute("SELECT clock_timestamp()")
        else:
            limit = [str(statement_milliseconds)]
            cursor.execute("SELECT clock_timestamp(), set_config('statement_timeout', %s, true)", limit)
        moment: datetime = cursor.fetchone()[0]
        return moment.astimezone(UTC)
