"""Wires the system checks of the whole product."""

from django.apps import AppConfig


class ProducerConfig(AppConfig):
    """The composition root as a Django app: commands and checks, no models."""

    name = "producer"

    def ready(self) -> None:
        """Registers the checks and the watch over connections; Django imports nothing else of ours for them."""
        from producer import checks, failover  # noqa: F401 - Django's own hook for registration
