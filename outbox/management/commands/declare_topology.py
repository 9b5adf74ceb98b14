"""Declares the exchanges and queues at the broker; safe to run again."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from outbox import topology


class Command(BaseCommand):
    """manage.py declare_topology."""

    help = "Declares exchanges, queues and dead-letter queues at BROKER_URL, and at TASKS_BROKER_URL where that is another."

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints each queue; exits non-zero with the broker's words when it refuses."""
        try:
            names = []
            for url in dict.fromkeys([settings.BROKER_URL, settings.TASKS_BROKER_URL]):
                with topology.connect(None if url == settings.BROKER_URL else url) as connection:
                    connection.ensure_connection(max_retries=3, interval_start=1, timeout=10)
                    names += topology.declare(connection, topology.queues_at(url))
        except Exception as error:
            raise CommandError(
                f"The broker did not take the topology: {type(error).__name__}: {error}. Is it up, and does a queue exist "
                "with other arguments (then delete it when it is empty)?"
            ) from error
        for name in names:
            self.stdout.write(f"declared {name}")
