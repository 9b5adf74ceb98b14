"""Makes an API client, or one more key for it, and prints the key once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from transactions.clients import create_client

MAX_NAME = 100


class Command(BaseCommand):
    """manage.py create_api_client NAME."""

    help = "Creates the API client NAME (or a further key for it) and prints the key. It is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        """NAME."""
        parser.add_argument("name", help="who it is, for people; up to 100 characters")

    def handle(self, *args: Any, **options: Any) -> None:
        """The last line of the output is the bare key."""
        name = options["name"].strip()
        if not 1 <= len(name) <= MAX_NAME:
            raise CommandError("NAME must have 1 to 100 characters.")
        self.stdout.write(create_client(name))
