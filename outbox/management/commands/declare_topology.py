"""Declares the exchanges and queues at the broker; safe to run again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from outbox import topology


class Command(BaseCommand):
    """manage.py declare_topology."""

    help = "Declares exchanges, queues and dead-letter queues at BROKER_URL."

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints each queue; exits non-zero with the broker's words when it refuses."""
        try:
            with topology.connect() as connection:
                connection.ensure_connection(max_retries=3, interval_start=1, timeout=10)
                names = topology.declare(connection)
        except Exception as error:
            raise CommandError(
                f"The broker did not take the topology: {type(error).__name__}: {error}. Is it up, and does a queue exist "
                "with other arguments (then delete it when it is empty)?"
            ) from error
        for name in names:
            self.stdout.write(f"declared {name}")
