"""Makes the admin's roles and permissions, or puts them back to what the product says."""

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db import transaction

from producer import roles


class Command(BaseCommand):
    """manage.py create_roles."""

    help = "Makes the roles operator, auditor and sees figures, or resets their permissions. People in them stay."

    def handle(self, *args: Any, **options: Any) -> None:
        """All or nothing."""
        with transaction.atomic():
            names = roles.install(apps)
        self.stdout.write(f"Roles: {', '.join(names)}. Put people into them at /admin/auth/user/.")
