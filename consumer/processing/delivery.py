"""Delivers one result: claim, choose the door, send, settle. No network call happens inside a database transaction."""

import logging
import re
from datetime import timedelta
from uuid import uuid4

from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone

from processing import queue_door, tracing, webhook_door
from processing.breaker import Breaker
from processing.models import Result
from processing.retry_policy import pause_seconds
from processing.webhook_door import Answer, Kind

log = logging.getLogger("consumer.delivery")

# Seconds between two knocks at a door that is shut. Shorter wastes time-outs, longer delays the return to it.
PROBE_SECONDS = 5.0

# What a result carries of the work that it is part of (see results).
_CARRIED = {
    "request_id": re.compile(r'"correlationid":"([0-9a-f-]{36})"'),
    "traceparent": re.compile(r'"traceparent":"([0-9a-f-]{55})"'),
}

webhook_breaker = Breaker(settings.QUEUE_DOOR_AFTER, PROBE_SECONDS)
queue_breaker = Breaker(1, PROBE_SECONDS)


def deliver(result_id: int) -> bool:
    """One delivery round of one result. True when it is delivered; False when not, or when somebody else has it.

    Leases and due times use this process's clock and not the database's: all clocks of the reference Consumer are those
    of one host, and a lease that ends early costs one more copy, which the Producer drops by its webhook-id.
    """
    token = uuid4().hex
    now = timezone.now()
    claimed = Result.objects.filter(
        Q(leased_until__isnull=True) | Q(leased_until__lt=now), pk=result_id, state=Result.State.PENDING
    ).update(leased_until=now + timedelta(seconds=settings.LEASE_SECONDS), lease_token=token)
    if not claimed:
        return False
    result = Result.objects.get(pk=result_id)
    carried = {name: pattern.search(result.body) for name, pattern in _CARRIED.items()}
    request_id, traceparent = (found.group(1) if found else "" for found in carried.values())
    about = tracing.about(request_id=request_id, transaction_id=result.transaction_id, webhook_id=result.webhook_id)
    with about, tracing.span("POST result", "client", traceparent) as mine:
        return _deliver(result, token, mine)


def _deliver(result: Result, token: str, traceparent: str) -> bool:
    answer = _post(result, traceparent)
    if answer is not None and answer.kind is Kind.DELIVERED:
        return _settle_delivered(result, token, Result.Door.WEBHOOK, answer)
    if answer is not None and answer.kind is Kind.GONE:
        log.critical("result %s: the Producer answered 410 Gone; it is dead until a person sends it again", result)
        return _settle(result, token, answer, state=Result.State.DEAD)
    if _second_door_is_due(result, answer) and _send_by_queue(result):
        return _settle_delivered(result, token, Result.Door.QUEUE, answer)
    return _settle_failed(result, token, answer)


def _post(result: Result, traceparent: str) -> Answer | None:
    """None: the door is known to be shut, nobody knocked."""
    if not webhook_breaker.allows():
        return None
    answer = webhook_door.post(result.webhook_id, result.body, traceparent)
    if answer.kind is Kind.SHUT:
        webhook_breaker.failed(answer.tries)
    elif webhook_breaker.succeeded():
        _make_waiting_results_due()
    return answer


def _make_waiting_results_due() -> None:
    """The door is open again: what failed because it was shut need not wait for the rest of its pause."""
    Result.objects.filter(state=Result.State.PENDING, leased_until__isnull=True).exclude(
        last_status__in=webhook_door.REFUSALS
    ).update(next_attempt_at=timezone.now())


def _second_door_is_due(result: Result, answer: Answer | None) -> bool:
    """Not after a refusal: the queue door checks the same signature, and there nobody would tell us of the refusal."""
    if answer is None:
        return True
    tries = result.attempts + answer.tries
    return answer.kind is Kind.SHUT and (tries >= settings.QUEUE_DOOR_AFTER or webhook_breaker.is_open())


def _send_by_queue(result: Result) -> bool:
    if not queue_breaker.allows():
        return False
    try:
        queue_door.send(result.webhook_id, result.body)
    except queue_door.QueueDoorError as error:
        queue_breaker.failed()
        log.warning("result %s: the queue door is shut too (%s)", result, error)
        return False
    queue_breaker.succeeded()
    return True


def _settle_delivered(result: Result, token: str, door: Result.Door, answer: Answer | None) -> bool:
    log.info("result %s transaction %s: delivered by %s", result, result.transaction_id, door)
    now = timezone.now()
    return _settle(result, token, answer, state=Result.State.DELIVERED, door=door, delivered_at=now)


def _settle_failed(result: Result, token: str, answer: Answer | None) -> bool:
    """A round in which nobody knocked does not count, else a long outage would use up the schedule."""
    now = timezone.now()
    if answer is None:
        _settle(result, token, None, next_attempt_at=now + timedelta(seconds=PROBE_SECONDS))
        return False
    rounds = result.rounds + 1
    pause = pause_seconds(rounds, settings.RESULT_RETRY_SECONDS, answer.retry_after)
    if pause is None:
        log.critical("result %s: dead after %d rounds, last: %s", result, rounds, answer.error)
        _settle(result, token, answer, state=Result.State.DEAD, rounds=rounds)
        return False
    log.warning("result %s: not delivered (%s), again in %.0f s", result, answer.error, pause)
    _settle(result, token, answer, rounds=rounds, next_attempt_at=now + timedelta(seconds=pause))
    return False


def _settle(result: Result, token: str, answer: Answer | None, **changes: object) -> bool:
    """Writes only if the lease is still ours: whoever broke it decides now. True when it was written as delivered."""
    if answer is not None:
        changes.update(attempts=F("attempts") + answer.tries, last_status=answer.status, last_error=answer.error[:255])
    written = Result.objects.filter(pk=result.pk, lease_token=token, state=Result.State.PENDING).update(
        leased_until=None, lease_token="", **changes
    )
    return bool(written) and changes.get("state") == Result.State.DELIVERED
