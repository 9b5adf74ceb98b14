"""The log-in and the API key of a demo run, made in the Producer's database."""

import io

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

ADMIN_NAME = "demo-admin"


def ensure_admin(password: str) -> None:
    """An operator who may see and replay everything. A second run finds it and puts the same password back."""
    admin, _ = User.objects.get_or_create(username=ADMIN_NAME, defaults={"email": "demo-admin@localhost"})
    admin.is_staff = admin.is_superuser = admin.is_active = True
    admin.set_password(password)
    admin.save()
    connection.close()


def create_api_key(name: str) -> str:
    """A client of its own for each run: its external ids and its list start empty."""
    output = io.StringIO()
    call_command("create_api_client", name, stdout=output)
    connection.close()
    return output.getvalue().split()[-1]
