"""The database's clock: leases and due times must not depend on any process's."""

from datetime import UTC, datetime

from django.db import connections


def database_now(using: str = "default") -> datetime:
    """The wall clock of the database, aware, in UTC. One round trip."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")
            return datetime.fromisoformat(cursor.fetchone()[0]).replace(tzinfo=UTC)
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        return moment.astimezone(UTC)
