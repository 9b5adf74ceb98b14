"""Names the webhooks app."""

from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    """All HTTP with the Consumer, in both directions."""

    name = "webhooks"
    default_auto_field = "django.db.models.BigAutoField"
