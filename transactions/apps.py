"""Names the transactions app."""

from django.apps import AppConfig


class TransactionsConfig(AppConfig):
    """The business: bank transactions, API clients, idempotency."""

    name = "transactions"
    default_auto_field = "django.db.models.BigAutoField"
