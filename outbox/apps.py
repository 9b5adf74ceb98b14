"""Names the outbox app."""

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    """Knows no business word; could be lifted out as a package."""

    name = "outbox"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Registers the checks, for which Django imports nothing else of ours; and TLS, before the first connection."""
        from outbox import checks, tls  # noqa: F401 - Django's own hook for registration

        tls.use()
