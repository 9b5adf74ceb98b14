"""Django's name for the processing app."""

from django.apps import AppConfig


class ProcessingConfig(AppConfig):
    name = "processing"
    label = "consumer"

    def ready(self) -> None:
        """Before the first connection to the broker."""
        from reference import tls

        tls.use()
