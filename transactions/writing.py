"""Writes new transactions, their history, events and Idempotency-Key: on PostgreSQL in one statement, all or nothing.

Raw SQL stands here because the ORM costs as much per row as the database does, and each statement a round trip. The
rows are read from the very JSON that the client is answered with: what it was told is what is stored.
"""

import contextlib
from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction

from outbox import services as outbox
from transactions import idempotency
from transactions.drafts import Draft
from transactions.idempotency import Answer, Claim
from transactions.models import HistoryEntry, Transaction

_DRAFTED = (
    *("id", "external_id", "account_number", "amount", "currency", "direction", "transaction_date"),
    *("description", "metadata", "status", "version", "created_at", "updated_at"),
)
_INSERT = f"""
    WITH claimed AS (
        INSERT INTO transactions_idempotencykey (client_id, key, fingerprint, transactions, status, headers, body)
        VALUES (%(client_id)s, %(key)s, %(fingerprint)s, %(ids)s, %(status)s, %(headers)s, %(body)s)
        ON CONFLICT (client_id, key) DO NOTHING RETURNING client_id
    ), new AS MATERIALIZED (
        SELECT claimed.client_id, shown.* FROM claimed, json_to_recordset(%(rows)s) AS shown(
            id uuid, external_id text, account_number text, amount numeric, currency text, direction text,
            transaction_date timestamptz, description text, metadata jsonb, status text, version int,
            created_at timestamptz, updated_at timestamptz)
    ), history AS (
        INSERT INTO transactions_historyentry
               (transaction_id, kind, at, version, status, by, webhook_id, type, state, door)
        SELECT id, 'change', updated_at, version, status, 'client', '', '', '', '' FROM new
    ), txn AS (
        INSERT INTO transactions_transaction
               (id, client_id, external_id, account_number, amount, currency, direction, transaction_date, description,
                metadata, status, version, created_at, updated_at, check_at, overdue, resends)
        SELECT id, client_id, external_id, account_number, amount, currency, direction, transaction_date, description,
               metadata, status, version, created_at, updated_at,
               created_at + make_interval(secs => %(deadline)s), false, 0
          FROM new
    ), event AS ({outbox.INSERT_SQL} WHERE EXISTS (SELECT FROM claimed))
    SELECT count(*) FROM claimed
"""  # noqa: S608 - two constants


def insert(claim: Claim, answer: Answer, drafts: Sequence[Draft], events: Sequence[outbox.Event]) -> bool:
    """Writes what `drafts` say, and `events`. False, and nothing is written, when the key was used before.

    Raises ProblemError 409 when the key is in flight elsewhere for too long, IntegrityError when an external_id exists.
    """
    if connection.vendor != "postgresql":
        with transaction.atomic():
            return _insert_portably(claim, answer, drafts, events)
    values = {
        **idempotency.columns(claim, answer),
        **outbox.insert_values(events),
        "rows": f"[{','.join([draft.text for draft in drafts])}]",
        "deadline": settings.RESULT_DEADLINE_SECONDS,
    }
    # Alone, the statement is its own transaction. In a caller's it needs a savepoint, to be refused without ending that.
    savepoint = transaction.atomic() if connection.in_atomic_block else contextlib.nullcontext()
    with savepoint, idempotency.waiting_for_key(), connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
        first = bool(cursor.fetchone()[0])
    if first:
        outbox.announce()
    return first


def _insert_portably(claim: Claim, answer: Answer, drafts: Sequence[Draft], events: Sequence[outbox.Event]) -> bool:
    """The same rows through the ORM, in as many statements as there are tables."""
    if not idempotency.claim_key(claim, answer):
        return False
    deadline = timedelta(seconds=settings.RESULT_DEADLINE_SECONDS)
    txns = [
        Transaction(
            client_id=claim.client_id,
            check_at=draft.created_at + deadline,
            **{name: getattr(draft, name) for name in _DRAFTED},
        )
        for draft in drafts
    ]
    Transaction.objects.bulk_create(txns)
    HistoryEntry.objects.bulk_create([HistoryEntry.of_change(txn, "client") for txn in txns])
    outbox.enqueue(events)
    return True
