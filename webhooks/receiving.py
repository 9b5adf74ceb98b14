"""Verify, then record: one function for both doors."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from outbox import context
from webhooks import inbox, instruments, nudge
from webhooks.inbox import State
from webhooks.keys import prove_result
from webhooks.results import ResultFormatError, read_result
from webhooks.signing import Verified

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Received:
    """What to tell the sender. `status`: accepted or quarantined for a new id, the current state for a known one."""

    webhook_id: str
    status: str
    problem: str
    new: bool


def check(headers: Mapping[str, str], body: bytes, now: float | None) -> Verified:
    """Proves the sender. Raises SignatureError; `now` None leaves out the age (a queue may be slow)."""
    return prove_result(headers, body, now, settings.WEBHOOK_TOLERANCE_SECONDS)


def receive(verified: Verified, body: bytes, *, door: str) -> Received:
    """Stores a proven delivery once and wakes a worker. Raises WebhookIdReusedError."""
    try:
        result = read_result(body, webhook_id=verified.webhook_id, door=door)
    except ResultFormatError as error:
        recorded = inbox.record(verified, body, door=door, state=State.QUARANTINED, reason=str(error))
    else:
        context.add(transaction_id=str(result.transaction_id))
        recorded = inbox.record(
            verified,
            body,
            door=door,
            state=State.RECEIVED,
            transaction_id=result.transaction_id,
            result_type=result.type,
        )
    correlation = context.correlation_of(body)
    if correlation:
        context.add(request_id=correlation)
    instruments.RECEIVED.labels(door, recorded.state if recorded.new else "repeated").inc()
    log.info("result received", extra={"webhook_id": verified.webhook_id, "state": recorded.state, "door": door})
    if not recorded.new:
        return Received(verified.webhook_id, recorded.state, recorded.reason, new=False)
    if recorded.state == State.QUARANTINED:
        return Received(verified.webhook_id, "quarantined", recorded.reason, new=True)
    transaction.on_commit(nudge.poke, robust=True)
    return Received(verified.webhook_id, "accepted", "", new=True)
