"""The queue door, and the task that applies results."""

import logging
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore, Reject

from webhooks import receiving, services
from webhooks.inbox import WebhookIdReusedError
from webhooks.signing import SignatureError

log = logging.getLogger(__name__)

# One run of the apply task; the next nudge or sweep goes on (seconds). Must stay below Celery's soft time limit.
BUDGET_SECONDS = 20.0


@shared_task(name="webhooks.apply_results")
def apply_results() -> dict[str, int]:
    """Applies what is due. A run that found nothing leaves no result row."""
    counts = services.apply_due(budget_seconds=BUDGET_SECONDS)
    if not counts:
        raise Ignore
    return dict(counts)


@shared_task(name="results.receive", ignore_result=True)
def receive_result(headers: Any = None, body: Any = None) -> None:
    """The second door: same signature, same inbox; the timestamp's age is not checked, a queue may be slow.

    What is not signed well goes to the dead-letter queue, where somebody can look at it; it leaves no row.
    """
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else b""
    try:
        verified = receiving.check(headers, raw, now=None)
        receiving.receive(verified, raw, door="queue")
    except SignatureError as error:
        log.warning("result refused", extra={"reason": error.reason.value, "door": "queue"})
        raise Reject(error.reason.value, requeue=False) from None
    except WebhookIdReusedError as error:
        log.error("webhook-id reused", extra={"webhook_id": str(error), "door": "queue"})
