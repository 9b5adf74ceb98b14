"""Policy: which channel takes the next batch. Breaker, fallback, return. State is in the database, shared by all relays."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from outbox.clock import database_now
from outbox.models import ChannelState
from outbox.publisher import Publisher, PublishError, publishers

# Events in a half-open probe: enough to prove the channel, few enough to lose little time when it is still away.
PROBE_BATCH = 20
# A failing channel is asked again after OUTBOX_PROBE_SECONDS, then half as often each time up to this (seconds).
PROBE_CAP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The channel to use now and how many events it may take; `publisher` None means wait."""

    publisher: Publisher | None
    limit: int
    probing: bool = False


def choose(limit: int) -> Choice:
    """Picks the channel for the next batch of at most `limit` events.

    The first choice while it works. When it fails: one relay at a time probes it with a small batch; meanwhile everyone
    else waits, and after OUTBOX_FALLBACK_AFTER_SECONDS uses the next channel that is available, under the same rules.
    """
    states = {state.name: state for state in ChannelState.objects.all()}
    now: datetime | None = None
    for position, publisher in enumerate(publishers()):
        if not publisher.available():
            continue
        state = states.get(publisher.name)
        if state is None or (state.failing_since is None and not state.disabled):
            return Choice(publisher, limit)
        if state.disabled:
            continue
        now = now or database_now()
        if state.retry_at is None or state.retry_at <= now:
            if _take_probe(publisher.name, now):
                return Choice(publisher, min(limit, PROBE_BATCH), probing=True)
        if (
            position == 0
            and state.failing_since
            and (now - state.failing_since).total_seconds() < (settings.OUTBOX_FALLBACK_AFTER_SECONDS)
        ):
            return Choice(None, 0)
    return Choice(None, 0)


def _take_probe(name: str, now: datetime) -> bool:
    """One relay gets the probe: the conditional UPDATE decides. A prober that dies frees it after the publish timeout."""
    next_try = now + timedelta(seconds=settings.OUTBOX_PUBLISH_TIMEOUT_SECONDS + settings.OUTBOX_PROBE_SECONDS)
    return bool(
        ChannelState.objects.filter(Q(retry_at__lte=now) | Q(retry_at=None), name=name, disabled=False).update(
            retry_at=next_try
        )
    )


def succeeded(publisher: Publisher) -> None:
    """The channel took something: closes its breaker, with one cheap statement that usually changes nothing."""
    ChannelState.objects.filter(name=publisher.name, failing_since__isnull=False).update(
        failing_since=None, retry_at=None, failures=0, reason="", changed_at=database_now()
    )


def failed(publisher: Publisher, error: PublishError) -> None:
    """The channel is away: opens its breaker or keeps it open, and says when the next probe may go out."""
    with transaction.atomic():
        now = database_now()
        ChannelState.objects.get_or_create(name=publisher.name)
        state = ChannelState.objects.select_for_update().get(name=publisher.name)
        wait = min(settings.OUTBOX_PROBE_SECONDS * 2 ** min(state.failures, 8), PROBE_CAP_SECONDS)
        # Jitter keeps several relays from probing a broker that just came back in the same millisecond.
        wait *= random.uniform(0.5, 1.0)
        if error.retry_after_seconds is not None:
            wait = max(wait, error.retry_after_seconds)
        ChannelState.objects.filter(name=publisher.name).update(
            failing_since=state.failing_since or now,
            retry_at=now + timedelta(seconds=wait),
            failures=F("failures") + 1,
            disabled=state.disabled or error.gone,
            reason=error.reason[:500],
            changed_at=now,
        )


def enable(name: str) -> int:
    """An operator's word that a disabled channel may be tried again. Returns 1 if that changed anything."""
    return ChannelState.objects.filter(name=name, disabled=True).update(
        disabled=False, failing_since=None, retry_at=None, failures=0, reason="", changed_at=database_now()
    )
