"""Writes what a result does to a transaction, with its history: on PostgreSQL a lock and one statement.

Raw SQL stands here because the ORM costs several times as much per result as the database does.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from transactions.models import HistoryEntry, Transaction
from transactions.states import RESULT_STATUS, TERMINAL, Status, Verdict


@dataclass(frozen=True, slots=True)
class Result:
    """A verified, well-formed result (contract section 4)."""

    webhook_id: str
    type: str
    transaction_id: UUID
    transaction_version: int
    processed_data: dict[str, Any] | None
    error: dict[str, Any] | None
    door: str


@dataclass(frozen=True, slots=True)
class Locked:
    """What a result is judged against; nobody changes it until the caller's transaction ends."""

    status: str
    version: int
    updated_at: datetime


_LOCK = "SELECT status, version, updated_at FROM transactions_transaction WHERE id = %s FOR UPDATE"
_HISTORY = """
    INSERT INTO transactions_historyentry (transaction_id, kind, at, version, status, by, webhook_id, type, state, door)
"""
_RESULT = "(2, 'result', NULL, '', '', %(webhook_id)s, %(type)s, %(state)s, %(door)s)"
_APPLY = f"""
    WITH txn AS (
        UPDATE transactions_transaction
           SET status = %(status)s, updated_at = %(now)s,
               processed_data = coalesce(%(processed_data)s, processed_data),
               processed_at = CASE WHEN %(final)s THEN %(now)s ELSE processed_at END,
               error = CASE WHEN %(final)s THEN %(error)s ELSE error END,
               check_at = CASE WHEN %(final)s THEN NULL ELSE check_at END, overdue = overdue AND NOT %(final)s
         WHERE id = %(id)s RETURNING id
    )
    {_HISTORY}
    SELECT txn.id, entry.kind, %(now)s, entry.version, entry.status, entry.by, entry.webhook_id, entry.type, entry.state,
           entry.door
      FROM txn, (VALUES (1, 'change', %(version)s, %(status)s, 'consumer', '', '', '', ''), {_RESULT})
             AS entry(place, kind, version, status, by, webhook_id, type, state, door)
     ORDER BY entry.place
"""  # noqa: S608 - two constants
_NOTE = f"{_HISTORY} VALUES (%(id)s, 'result', %(now)s, NULL, '', '', %(webhook_id)s, %(type)s, %(state)s, %(door)s)"


def lock(transaction_id: UUID) -> Locked | None:
    """The transaction's row, locked until the end of the caller's transaction; None when there is none."""
    if connection.vendor != "postgresql":
        rows = Transaction.objects.filter(id=transaction_id).values_list("status", "version", "updated_at")
        row = rows.first()
    else:
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, [transaction_id])
            row = cursor.fetchone()
    return Locked(*row) if row else None


def write(result: Result, locked: Locked, now: datetime, verdict: Verdict) -> None:
    """History of the result, and when it applies, what it changes with the history of that."""
    applies = verdict is Verdict.APPLY
    status = RESULT_STATUS[result.type]
    final = status in TERMINAL
    error = result.error if status is Status.FAILED else None
    state = "applied" if applies else verdict.value
    if connection.vendor != "postgresql":
        _write_portably(
            result, locked, now, state, {"status": status.value, "updated_at": now} if applies else {}, error
        )
        return
    values: dict[str, Any] = {
        "id": result.transaction_id, "now": now, "status": status.value, "version": locked.version, "final": final,
        "processed_data": None if result.processed_data is None else json.dumps(result.processed_data),
        "error": None if error is None else json.dumps(error),
        "webhook_id": result.webhook_id, "type": result.type, "state": state, "door": result.door,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_APPLY if applies else _NOTE, values)


def _write_portably(
    result: Result, locked: Locked, now: datetime, state: str, changes: dict[str, Any], error: dict[str, Any] | None
) -> None:
    entries = []
    if changes:
        if result.processed_data is not None:
            changes["processed_data"] = result.processed_data
        if changes["status"] in TERMINAL:
            changes |= {"processed_at": now, "overdue": False, "check_at": None, "error": error}
        Transaction.objects.filter(id=result.transaction_id).update(**changes)
        change = {"kind": HistoryEntry.Kind.CHANGE, "version": locked.version, "status": changes["status"]}
        entries.append(HistoryEntry(transaction_id=result.transaction_id, at=now, by="consumer", **change))
    about = {"webhook_id": result.webhook_id, "type": result.type, "state": state, "door": result.door}
    kind = HistoryEntry.Kind.RESULT
    entries.append(HistoryEntry(transaction_id=result.transaction_id, at=now, kind=kind, **about))
    HistoryEntry.objects.bulk_create(entries)
