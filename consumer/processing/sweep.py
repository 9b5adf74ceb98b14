"""One pass over what is due: stored fallback events are processed, waiting results delivered. Needs no broker."""

import logging
import threading
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError
from django.db.models import F, Q
from django.utils import timezone

from processing import delivery, handler, retry_policy
from processing.events import BadEventError, decode, parse
from processing.models import Event, Result

log = logging.getLogger("consumer.sweep")

# Rows looked at in one pass. More delays a stop; fewer costs a query more often.
BATCH_SIZE = 20
# Seconds until an event whose processing failed is tried again; the last one repeats.
EVENT_RETRY_SECONDS = [2, 5, 15, 60, 300]


def run_once(stopping: threading.Event | None = None) -> int:
    """Returns how many rows were worked on; 0 means that nothing is due. Ends between two rows when told to stop."""
    stopping = stopping or threading.Event()
    return _process_events(stopping) + _deliver_results(stopping)


def _process_events(stopping: threading.Event) -> int:
    now = timezone.now()
    due = Event.objects.filter(_free(now), state=Event.State.RECEIVED, next_attempt_at__lte=now).order_by("id")
    done = 0
    for event_pk in list(due.values_list("pk", flat=True)[:BATCH_SIZE]):
        if stopping.is_set():
            break
        # The row count decides who has it; SQLite would silently ignore SKIP LOCKED.
        claimed = Event.objects.filter(_free(now), pk=event_pk, state=Event.State.RECEIVED).update(
            leased_until=timezone.now() + timedelta(seconds=settings.LEASE_SECONDS), attempts=F("attempts") + 1
        )
        if claimed:
            done += 1
            _process(Event.objects.get(pk=event_pk))
    return done


def _process(row: Event) -> None:
    try:
        handler.handle(parse(decode(bytes(row.body))), Event.Door.WEBHOOK)
    except BadEventError as error:
        # The door parsed it before it was stored, so this is a newer release's stricter check.
        Event.objects.filter(pk=row.pk).update(
            state=Event.State.QUARANTINED, reason=str(error)[:255], leased_until=None
        )
    except DatabaseError as error:
        log.warning("event %s: not processed (%s), again later", row, type(error).__name__)
        last = len(EVENT_RETRY_SECONDS)
        pause = retry_policy.pause_seconds(min(row.attempts, last), EVENT_RETRY_SECONDS, None) or 0.0
        Event.objects.filter(pk=row.pk, state=Event.State.RECEIVED).update(
            leased_until=None, next_attempt_at=timezone.now() + timedelta(seconds=pause)
        )


def _deliver_results(stopping: threading.Event) -> int:
    now = timezone.now()
    due = Result.objects.filter(_free(now), state=Result.State.PENDING, next_attempt_at__lte=now)
    result_ids = list(due.order_by("next_attempt_at", "id").values_list("pk", flat=True)[:BATCH_SIZE])
    for result_id in result_ids:
        if stopping.is_set():
            break
        delivery.deliver(result_id)
    return len(result_ids)


def _free(now: datetime) -> Q:
    return Q(leased_until__isnull=True) | Q(leased_until__lt=now)
