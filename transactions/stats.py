"""How many transactions wait too long for their result; read-only."""

from django.db import connection

from outbox.stats import AT_MOST, shown
from transactions.models import Transaction


def overdue_count() -> int:
    """Exactly, for a scrape."""
    return Transaction.objects.filter(overdue=True).count()


def overdue() -> str:
    """The count of overdue transactions, from the partial index that holds only those; "1000+" for more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT 1 FROM transactions_transaction WHERE overdue LIMIT %s) AS first",
            [AT_MOST + 1],
        )
        return shown(cursor.fetchone()[0])
