"""The admin of transactions and of the clients that submit them."""

from transactions.admin import clients, ledgers, neighbours

__all__ = ["clients", "ledgers", "neighbours"]
