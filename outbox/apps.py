"""Names the outbox app."""

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    """Knows no business word; could be lifted out as a package."""

    name = "outbox"
    default_auto_field = "django.db.models.BigAutoField"
