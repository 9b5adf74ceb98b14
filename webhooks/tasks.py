"""The queue door, and the task that applies results."""

import logging
from typing import Any

from celery import shared_task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.db import connection
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_exponential

from outbox.ticks import found_nothing
from webhooks import receiving, refusals, services
from webhooks.database_trouble import Trouble, database_trouble
from webhooks.inbox import WebhookIdReusedError
from webhooks.signing import SignatureError

log = logging.getLogger(__name__)

# One run of the apply task; the next nudge or sweep goes on (seconds). Must stay below Celery's soft time limit.
BUDGET_SECONDS = 20.0
# How long after a delivery of a result another try with the database may begin (seconds): below Celery's soft time limit by
# what a try takes whose hosts swallow every packet. The message then goes back to the queue, which lets it return 20 times:
# eight minutes, after which it is a dead letter.
DATABASE_SECONDS = 25.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0


@shared_task(name="webhooks.apply_results", bind=True)
def apply_results(task: Any) -> dict[str, int]:
    """Applies what is due. A run that found nothing leaves no result row."""
    counts = services.apply_due(budget_seconds=BUDGET_SECONDS)
    if not counts:
        found_nothing(task)
    return dict(counts)


# The signature takes anything: what Celery cannot bind would fail outside of our hands.
@shared_task(name="results.receive", ignore_result=True, typing=False)
def receive_result(*_args: Any, headers: Any = None, body: Any = None, **_unknown: Any) -> None:
    """The second door: same signature, same inbox; the timestamp's age is not checked, a queue may be slow.

    What is not signed well goes to the dead-letter queue, where somebody can look at it; it leaves no row.
    """
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else b""
    try:
        _receive_patiently(headers, raw)
    except SignatureError as error:
        log.warning("result refused", extra={"reason": error.reason.value, "door": "queue"})
        refusals.note(error.reason.value, "queue")
        raise Reject(error.reason.value, requeue=False) from None
    except WebhookIdReusedError as error:
        log.error("webhook-id reused", extra={"webhook_id": str(error), "door": "queue"})
    except Exception as error:
        if isinstance(error, SoftTimeLimitExceeded) or database_trouble(error) is not Trouble.NONE:
            raise Reject("database away", requeue=True) from None
        # A defect of ours. Celery acknowledges the message of a task that failed, which would lose the result.
        log.exception("result not recorded", extra={"door": "queue"})
        raise Reject(type(error).__name__, requeue=False) from None


def _receive_patiently(headers: Any, raw: bytes) -> None:
    """Raises what the last try raised, and at once what no further try would change."""
    retrying = Retrying(
        retry=retry_if_exception(lambda error: database_trouble(error) is not Trouble.NONE),
        stop=stop_before_delay(DATABASE_SECONDS),
        wait=wait_exponential(multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS),
        before_sleep=_wait_for_database,
        reraise=True,
    )
    retrying(_receive, headers, raw)


def _receive(headers: Any, raw: bytes) -> None:
    receiving.receive(receiving.check(headers, raw, now=None), raw, door="queue")


def _wait_for_database(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("result waits for the database", extra={"reason": type(error).__name__, "door": "queue"})
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
