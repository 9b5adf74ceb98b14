"""Apply one result through transactions.services, in one transaction with its inbox row; and the operators' verbs."""

import logging
import time
from collections import Counter
from collections.abc import Iterable

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction

from transactions import services as transactions
from transactions.states import Verdict
from webhooks import inbox, nudge
from webhooks.inbox import Claimed, LeaseLostError, State
from webhooks.results import ResultFormatError, read_result

log = logging.getLogger(__name__)

_SETTLED = {
    Verdict.APPLY: State.APPLIED,
    Verdict.NOOP: State.NOOP,
    Verdict.CONFLICT: State.CONFLICT,
    Verdict.SUPERSEDED: State.SUPERSEDED,
}


def apply_one(claimed: Claimed) -> State:
    """Applies a claimed result: transaction, history and inbox row change together or not at all."""
    try:
        result = read_result(claimed.body, webhook_id=claimed.webhook_id, door=claimed.door)
    except ResultFormatError as error:
        inbox.settle(claimed, State.QUARANTINED, str(error))
        return State.QUARANTINED
    with transaction.atomic():
        verdict = transactions.apply_result(result)
        if verdict is Verdict.UNMATCHED:
            return inbox.retry_unmatched(claimed, "The transaction is unknown, or has not reached that version.")
        state = _SETTLED[verdict]
        inbox.settle(claimed, state, _reason(verdict), transaction_id=result.transaction_id, type=result.type)
    return state


def _reason(verdict: Verdict) -> str:
    return {
        Verdict.NOOP: "The transaction says this already.",
        Verdict.CONFLICT: "The transaction is settled otherwise; nothing was overwritten.",
        Verdict.SUPERSEDED: "For an older version of the transaction.",
    }.get(verdict, "")


def apply_due(*, budget_seconds: float, limit: int | None = None) -> Counter[str]:
    """Applies what is due until nothing is, or the budget is spent; returns how many ended in which state."""
    counts: Counter[str] = Counter()
    until = time.monotonic() + budget_seconds
    while time.monotonic() < until:
        batch = inbox.claim(limit or settings.INBOX_BATCH_SIZE)
        if not batch:
            break
        for position, claimed in enumerate(batch):
            if time.monotonic() > until:
                inbox.release(batch[position:])
                break
            counts[_apply_safely(claimed)] += 1
    return counts


def _apply_safely(claimed: Claimed) -> str:
    try:
        return apply_one(claimed).value
    except LeaseLostError:
        return "lost"
    except (OperationalError, InterfaceError):
        # The database is away or busy: nobody's attempt; the lease brings the row back.
        raise
    except Exception as error:
        log.exception("result not applied", extra={"webhook_id": claimed.webhook_id})
        return inbox.retry_failed(claimed, f"{type(error).__name__}: {str(error)[:500]}").value


def reapply(ids: Iterable[int]) -> int:
    """Lets settled but unapplied results be judged again; returns how many. Safe to press twice."""
    changed = inbox.reapply(ids)
    if changed:
        nudge.poke()
    return changed


def discard(ids: Iterable[int], reason: str) -> int:
    """Gives waiting results up, with a reason; returns how many."""
    return inbox.discard(ids, reason)
