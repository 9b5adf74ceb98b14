"""Why results are not applied; read-only, at a bounded price."""

from collections import Counter

from django.db import connection

from outbox.trends import REASON_LENGTH, REASONS_AMONG

# Each half from a partial index of its own.
_REASONS = """
    SELECT state, reason FROM (SELECT state, reason FROM webhooks_inboxmessage
                                WHERE state IN ('dead', 'quarantined', 'conflict') AND NOT discarded
                                ORDER BY id DESC LIMIT %s) AS stuck
     UNION ALL
    SELECT state, reason FROM (SELECT state, reason FROM webhooks_inboxmessage WHERE state = 'failed'
                                ORDER BY id DESC LIMIT %s) AS failing
"""


def reasons() -> Counter[tuple[str, str]]:
    """(state, reason) of the newest results that need somebody, or failed and are tried again; in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_REASONS, [REASONS_AMONG, REASONS_AMONG])
        return Counter((state, reason[:REASON_LENGTH]) for state, reason in cursor.fetchall())
