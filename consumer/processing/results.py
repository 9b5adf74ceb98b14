"""Builds the body of a result and freezes it: from here on only bytes and webhook-id travel. Pure."""

import json
from datetime import UTC, datetime
from typing import Any

from processing.events import ParsedEvent, Txn
from processing.rules import FAILED, Verdict

PROCESSING, SUCCEEDED_TYPE, FAILED_TYPE = "transaction.processing", "transaction.succeeded", "transaction.failed"


def final_type(verdict: Verdict) -> str:
    return FAILED_TYPE if verdict.outcome == FAILED else SUCCEEDED_TYPE


def final_body(event: ParsedEvent, txn: Txn, verdict: Verdict, now: datetime) -> str:
    """The last word on one version. Amount and currency are echoed as received, character by character."""
    data: dict[str, Any] = {
        "transaction_id": event.transaction_id,
        "transaction_version": event.sequence,
        "processed_data": {
            "outcome": verdict.outcome,
            "reasons": verdict.reasons,
            "checks": verdict.checks,
            "amount": txn.amount,
            "currency": txn.currency,
            "event_id": event.id,
            "processed_at": rfc3339(now),
        },
    }
    if verdict.error is not None:
        data["error"] = verdict.error
    return _freeze(final_type(verdict), data, now, event)


def processing_body(event: ParsedEvent, now: datetime) -> str:
    """Says that the work began."""
    data = {"transaction_id": event.transaction_id, "transaction_version": event.sequence}
    return _freeze(PROCESSING, data, now, event)


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _freeze(kind: str, data: dict[str, Any], now: datetime, event: ParsedEvent) -> str:
    """ASCII only, so that no database, queue or client can change a byte of what was signed.

    What the event was part of goes back with the result; the Producer ignores members that it does not know.
    """
    body: dict[str, Any] = {"type": kind, "timestamp": rfc3339(now)}
    if event.request_id:
        body["correlationid"] = event.request_id
    if event.traceparent:
        body["traceparent"] = event.traceparent
    return json.dumps({**body, "data": data}, separators=(",", ":"), ensure_ascii=True)
