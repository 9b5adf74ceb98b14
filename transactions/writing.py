"""Writes new transactions, their history, events and Idempotency-Key: on PostgreSQL in one call, all or nothing.

A function of the database, because the ORM costs as much per row as the database does, each statement a round trip, and
planning them anew more than running them.
"""

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import cast

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from outbox import services as outbox
from transactions import events as told
from transactions import idempotency
from transactions.clients import KeyRefusedError
from transactions.drafts import Draft
from transactions.first_statement import first_row
from transactions.idempotency import Answer, Claim
from transactions.models import HistoryEntry, Transaction
from transactions.serializers import dumps

_DRAFTED = (
    *("id", "external_id", "account_number", "amount", "currency", "direction", "transaction_date"),
    *("description", "metadata", "status", "version", "created_at", "updated_at"),
)
# The function is in migration 0005; it may be called twice with the same values, since the second finds the key used.
_CREATE = """
    SELECT transactions_create_v2(
        %(api_key_id)s, %(client_id)s, %(key)s, %(fingerprint)s, %(status)s, %(headers)s, %(start)s, %(end)s, %(ids)s,
        %(shown)s, %(deadline)s, %(topic)s, %(type)s, %(event_ids)s, %(event_heads)s, %(wake)s)
"""


def insert(
    claim: Claim,
    answer: Answer,
    drafts: Sequence[Draft],
    events: Sequence[outbox.Event],
    api_key_id: int | None = None,
) -> bool:
    """Writes what `drafts` say, and `events`, one `transaction.created` each. False, and nothing, when the key was used.

    Raises ProblemError 409 when the key is in flight elsewhere for too long, IntegrityError when an external_id exists,
    KeyRefusedError when `api_key_id` is given and not good, ValueError when `answer` does not show the drafts.
    """
    # The answer shows the drafts with something around them: they are sent once, and put together there.
    start, shown, end = answer.body.partition(",".join([draft.text for draft in drafts]))
    if not shown:
        raise ValueError("The answer does not show what is written.")
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        with transaction.atomic():
            return _insert_portably(claim, answer, drafts, events)
    values = {
        **outbox.insert_values(events),
        "api_key_id": api_key_id,
        "client_id": claim.client_id,
        "key": claim.key,
        "fingerprint": claim.fingerprint,
        "status": answer.status,
        "headers": dumps(answer.headers),
        "start": start,
        "end": end,
        # Texts with a line for each draft, since a driver spells arrays out item by item; no JSON of ours breaks a line.
        "ids": "\n".join(answer.transactions),
        "shown": "\n".join([draft.text for draft in drafts]),
        "deadline": settings.RESULT_DEADLINE_SECONDS,
        "topic": told.TOPIC,
        "type": told.CREATED,
    }
    # Alone, the statement is its own transaction. In a caller's it needs a savepoint, to be refused without ending that.
    savepoint = transaction.atomic() if connection.in_atomic_block else contextlib.nullcontext()
    first: bool | None = False
    try:
        with savepoint, idempotency.waiting_for_key():
            (first,) = cast(tuple[bool | None], first_row(_CREATE, values))
    finally:
        # Not woken, or in place of others although nothing was written: refused ones must not use up what others need.
        if values["wake"] != bool(first):
            outbox.announce()
    if first is None:
        raise KeyRefusedError
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
