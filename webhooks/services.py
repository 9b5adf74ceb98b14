"""Apply results through transactions.services, in one transaction with their inbox rows; and the operators' verbs."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction

from outbox import context, tracing
from outbox.clock import database_now
from outbox.database_errors import reason_of
from transactions import services as transactions
from transactions.services import Result
from transactions.states import Verdict
from webhooks import inbox, instruments, nudge
from webhooks.database_trouble import Trouble, database_trouble
from webhooks.inbox import Claimed, LeaseLostError, Settlement, State
from webhooks.results import ResultFormatError, read_result

log = logging.getLogger(__name__)

# Results per database transaction. More save little; each one more is locked for longer, and repeated when one fails.
TOGETHER = 20
# Longer, and a transaction that somebody holds costs the others' time; shorter, and a busy API request looks like that.
LOCK_WAIT_MILLISECONDS = 250

_SETTLED = {
    Verdict.APPLY: State.APPLIED,
    Verdict.NOOP: State.NOOP,
    Verdict.CONFLICT: State.CONFLICT,
    Verdict.SUPERSEDED: State.SUPERSEDED,
}


def apply_together(claimed: Sequence[Claimed]) -> list[Settlement]:
    """Applies claimed results: transactions, histories and inbox rows change in one transaction, all or none of them.

    Raises LeaseLostError, and whatever applying raises.
    """
    settlements: list[Settlement] = []
    readable: list[tuple[Claimed, Result]] = []
    for row in claimed:
        if row.attempts > settings.INBOX_MAX_ATTEMPTS:
            # It never came to raise anything: its workers died, each with the lease in its hands.
            reason = f"Every worker that took it ended ({row.attempts - 1} times)."
            settlements.append(Settlement(row, State.DEAD, reason))
            continue
        try:
            readable.append((row, read_result(row.body, webhook_id=row.webhook_id, door=row.door)))
        except ResultFormatError as error:
            settlements.append(Settlement(row, State.QUARANTINED, str(error)))
    with transaction.atomic():
        _wait_briefly_for_locks()
        verdicts = transactions.apply_results([result for _, result in readable])
        now = database_now() if Verdict.UNMATCHED in verdicts else None
        for (row, result), verdict in zip(readable, verdicts, strict=True):
            if now and verdict is Verdict.UNMATCHED:
                settlements.append(inbox.unmatched(row, result.transaction_id, now))
                continue
            settlements.append(
                Settlement(
                    row,
                    _SETTLED[verdict],
                    _reason(verdict),
                    transaction_id=result.transaction_id,
                    type=result.type,
                )
            )
        inbox.settle(settlements)
    return settlements


def _reason(verdict: Verdict) -> str:
    return {
        Verdict.NOOP: "The transaction says this already.",
        Verdict.CONFLICT: "The transaction is settled otherwise; nothing was overwritten.",
        Verdict.SUPERSEDED: "For an older version of the transaction.",
    }.get(verdict, "")


def apply_due(*, budget_seconds: float, limit: int | None = None) -> Counter[str]:
    """Applies what is due until nothing is, or the budget is spent; returns how many ended in which state.

    Raises the database's error when that is away; what was claimed and not applied is handed back.
    """
    counts: Counter[str] = Counter()
    until = time.monotonic() + budget_seconds
    while time.monotonic() < until:
        batch = inbox.claim(limit or settings.INBOX_BATCH_SIZE)
        if not batch:
            break
        # Half the lease: what a slow database keeps us from is handed back before somebody else may take it.
        stop = min(until, time.monotonic() + settings.INBOX_LEASE_SECONDS / 2)
        counts += _apply_batch(batch, stop)
    return counts


def _apply_batch(batch: list[Claimed], stop: float) -> Counter[str]:
    counts: Counter[str] = Counter()
    # One order of locks for all workers and the operators' verbs; results of one transaction keep theirs.
    waiting = sorted(batch, key=lambda row: (row.transaction_id is None, str(row.transaction_id), row.id))
    try:
        while waiting and time.monotonic() <= stop:
            outcomes = _apply_group(waiting[:TOGETHER], stop)
            counts.update(outcomes)
            del waiting[: len(outcomes)]
    finally:
        if waiting:
            _hand_back(waiting)
    instruments.looked_at([row.received_at for row in batch], counts)
    return counts


def _apply_group(claimed: list[Claimed], stop: float) -> list[str]:
    """In one database transaction, for one commit; when anything is wrong with any of them, each in its own.

    Returns what became of them, in their order; past `stop` (time.monotonic()) none is begun any more, and the last are missing.
    """
    if len(claimed) > 1:
        try:
            return _apply_observed(claimed)
        except Exception as error:
            log.info("results one by one", extra={"reason": type(error).__name__, "count": len(claimed)})
    outcomes: list[str] = []
    for row in claimed:
        if outcomes and time.monotonic() > stop:
            break
        outcomes.append(_apply_safely(row))
    return outcomes


def _apply_safely(claimed: Claimed) -> str:
    try:
        try:
            return _apply_observed([claimed])[0]
        except LeaseLostError:
            raise
        except Exception as error:
            trouble = database_trouble(error)
            if trouble is Trouble.AWAY:
                raise
            reason = reason_of(error)[:500]
            if trouble is Trouble.BUSY:
                inbox.postpone(claimed, reason)
                return "busy"
            log.exception("result not applied", extra={"webhook_id": claimed.webhook_id})
            return inbox.retry_failed(claimed, reason).value
    except LeaseLostError:
        return "lost"


def _apply_observed(claimed: list[Claimed]) -> list[str]:
    """apply_together, with its spans and lines after the commit: what is not committed has not happened."""
    began = time.monotonic()
    settlements = apply_together(claimed)
    if tracing.ON:
        ended, took_ns = time.time_ns(), round((time.monotonic() - began) * 1e9)
        for row in claimed:
            # Child of what the Consumer says its work was part of.
            names = {"webhook_id": row.webhook_id, "transaction_id": str(row.transaction_id)}
            parent = context.traceparent_of(row.body)
            tracing.tracer.past("apply result", "consumer", parent, names, ended - took_ns, ended)
    if settings.LOG_EACH:
        for each in settlements:
            row = each.claimed
            names = {"webhook_id": row.webhook_id, "transaction_id": str(row.transaction_id), "door": row.door}
            request_id = context.correlation_of(row.body)
            log.info("result settled", extra={**names, "state": each.state.value, "request_id": request_id})
    return [each.state.value for each in settlements]


def _wait_briefly_for_locks() -> None:
    """Somebody who holds one transaction for long must not hold up the results of all others."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT_MILLISECONDS}ms'")


def _hand_back(waiting: list[Claimed]) -> None:
    """Without waiting for the lease to end; with the database away that is what is left."""
    try:
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
        inbox.release(waiting)
    except (DatabaseError, InterfaceError) as error:
        log.warning("results wait for their lease", extra={"count": len(waiting), "reason": type(error).__name__})


def reapply(ids: Iterable[int]) -> int:
    """Lets settled but unapplied results be judged again; returns how many. Safe to press twice."""
    changed = inbox.reapply(ids)
    if changed:
        # robust: the nudge is only the quick way; the sweep finds the rows without it.
        transaction.on_commit(nudge.poke, robust=True)
    return changed


def recall() -> int:
    """For the clock: lets results look again that wait for a time that the database's clock, since set back, was ahead by."""
    return inbox.recall()


def discard(ids: Iterable[int], reason: str) -> int:
    """Gives waiting results up, with a reason; returns how many."""
    return inbox.discard(ids, reason)
