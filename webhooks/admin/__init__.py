"""The admin of results and webhook keys."""

from webhooks.admin import keys, neighbours, results

__all__ = ["keys", "neighbours", "results"]
