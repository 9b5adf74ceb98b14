"""The life of a transaction and the verdict on a result: pure (contract §2, §4)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """Where a transaction is. Stored and sent as is."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class Verdict(StrEnum):
    """What to do with a result. All but APPLY are also the inbox state that the result ends (or waits) in."""

    APPLY = "apply"
    NOOP = "noop"
    CONFLICT = "conflict"
    SUPERSEDED = "superseded"
    UNMATCHED = "unmatched"


# Nothing leaves these: a correction is a new transaction.
TERMINAL: frozenset[Status] = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED})

# From → to. A result may skip `processing`: the Consumer need not announce it, and announcements may be lost.
ALLOWED_MOVES: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.PROCESSING, Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
    Status.PROCESSING: frozenset({Status.SUCCEEDED, Status.FAILED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
}

# The types of result the Consumer may send, and the status each asks for.
RESULT_STATUS: Mapping[str, Status] = {
    "transaction.processing": Status.PROCESSING,
    "transaction.succeeded": Status.SUCCEEDED,
    "transaction.failed": Status.FAILED,
}


def judge_result(
    *,
    current_status: str | None,
    current_version: int | None,
    result_type: str,
    result_version: int,
    transaction_known: bool,
) -> Verdict:
    """Judge one result against the row as it is under lock, in the order of contract §4.

    Unmatched (unknown, or a version not reached yet) → terminal (noop, conflict) → superseded → apply. `current_*` may
    be None only where `transaction_known` is False. Raises ValueError for a status or type that the schema check should
    have stopped: such a result is quarantined and never judged.
    """
    wanted = RESULT_STATUS.get(result_type)
    if wanted is None:
        raise ValueError("not a type of result")
    if not transaction_known:
        return Verdict.UNMATCHED
    if current_status is None or current_version is None:
        raise ValueError("a known transaction has a status and a version")
    current = Status(current_status)
    if result_version > current_version:
        return Verdict.UNMATCHED
    if current in TERMINAL:
        # A late "processing" contradicts nothing: it was true before the outcome was.
        return Verdict.NOOP if wanted in (current, Status.PROCESSING) else Verdict.CONFLICT
    if result_version < current_version:
        return Verdict.SUPERSEDED
    # Only `processing` while processing is left here.
    return Verdict.APPLY if wanted in ALLOWED_MOVES[current] else Verdict.NOOP
