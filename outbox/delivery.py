"""Policy: which channel takes the next batch. Breaker, fallback, return. State is in the database, shared by all relays."""

import contextlib
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from amqp.exceptions import AccessRefused
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet

from outbox import topology
from outbox.clock import database_now
from outbox.models import ChannelState, OutboxMessage
from outbox.publisher import Publisher, PublishError, publishers

log = logging.getLogger(__name__)

# The first channel's name, whatever stands behind it.
BROKER = "broker"
# Events in a half-open probe: enough to prove the channel, few enough to lose little time when it is still away.
PROBE_BATCH = 20
# A failing channel is asked again after OUTBOX_PROBE_SECONDS, then half as often each time up to this (seconds). With a
# relay's tick and the greeting it is found within 5 s of its recovery.
PROBE_CAP_SECONDS = 3.0
# No probe is put off for longer (seconds). One that stands beyond it was noted by a clock of the database's that was ahead and
# is set back: it is due now, or nothing would go out until that time has come again.
FARTHEST_PROBE_SECONDS = 600.0
# How long a broker may take to greet before a probe batch is risked on it (seconds). The fallback's traffic waits
# meanwhile, and a frozen broker takes all of it; too short and a distant one is never found again.
GREETING_SECONDS = 1.0
# No queue has this name, so the greeting is dropped as soon as it is confirmed.
GREETING_KEY = "outbox.greeting"
# Events in a batch on a channel that is not the first choice: it carries them one by one, and the return must not wait.
FALLBACK_BATCH = 100


@dataclass(frozen=True, slots=True)
class Choice:
    """The channel to use now and how many events it may take; `publisher` None means wait.

    `timeout_seconds`: how long that publish may take.
    """

    publisher: Publisher | None
    limit: int
    probing: bool = False
    timeout_seconds: float = 0.0


class BlockedError(Exception):
    """The broker answers but takes no messages: a memory or disk alarm."""


def choose(limit: int) -> Choice:
    """Picks the channel for the next batch of at most `limit` events.

    The first choice while it works. When it fails: one relay at a time probes it, with a greeting and then a small batch;
    meanwhile everyone else waits, and after OUTBOX_FALLBACK_AFTER_SECONDS uses the next channel that is available, under
    the same rules.
    """
    states = {state.name: state for state in ChannelState.objects.all()}
    now: datetime | None = None
    failing: set[str] = set()
    for position, publisher in enumerate(publishers()):
        if not publisher.available():
            continue
        state = states.get(publisher.name)
        most, seconds = limit, settings.OUTBOX_PUBLISH_TIMEOUT_SECONDS
        if position > 0:
            most, seconds = min(limit, FALLBACK_BATCH), settings.OUTBOX_FALLBACK_TIMEOUT_SECONDS
        if state is None or (state.failing_since is None and not state.disabled):
            _not_needed(states[name] for name in states.keys() - failing)
            return Choice(publisher, most, timeout_seconds=seconds)
        failing.add(publisher.name)
        if state.disabled:
            continue
        now = now or database_now()
        due = state.retry_at is None or not now < state.retry_at <= now + timedelta(seconds=FARTHEST_PROBE_SECONDS)
        if due and _worth_a_probe(publisher, now) and _take_probe(publisher.name, now, seconds):
            if _greets(publisher):
                return _half_open(publisher, most, seconds)
            now = database_now()
        failing_for = now - (state.failing_since or now)
        if position == 0 and failing_for < timedelta(seconds=settings.OUTBOX_FALLBACK_AFTER_SECONDS):
            return Choice(None, 0)
    return Choice(None, 0)


def _not_needed(others: Iterable[ChannelState]) -> None:
    """Forgets that channels behind the one in use fail: nobody asks them any more, so nobody would find out that they work.

    In each choice, because a relay that was still busy with one may tell of its failure late. A receiver that said 410 stays
    disabled. Costs a statement only where there is something to forget.
    """
    for state in others:
        if state.failing_since is not None and not state.disabled:
            log.info("channel no longer needed", extra={"channel": state.name, "reason": state.reason})
            # By its time: what has failed anew meanwhile stays.
            ChannelState.objects.filter(name=state.name, failing_since=state.failing_since, disabled=False).update(
                failing_since=None, retry_at=None, failures=0, reason="", changed_at=database_now()
            )


def _greets(publisher: Publisher) -> bool:
    """Whether the broker confirms a message that goes nowhere; if not, says so. It is dead, frozen or blocks publishers.

    Other channels have no such greeting: their first event is one.
    """
    if publisher.name != BROKER or not settings.BROKER_TRANSPORT_URL.startswith("amqp"):
        return True
    deadlines = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), GREETING_SECONDS)
    alarms: list[str] = []
    connection = topology.connect(settings.BROKER_URL, confirm_publish=True, on_blocked=alarms.append, **deadlines)
    try:
        topology.open_any(connection)
        # Twice: a broker with an alarm takes the first message of a connection and only then stops reading from it.
        for _ in range(2):
            # The default exchange, so that no queue of anybody's gets it. A user who may not write there is refused,
            # which a broker that reads nothing cannot do.
            with contextlib.suppress(AccessRefused):
                channel: Any = connection.channel()
                channel.basic_publish(channel.prepare_message(b""), exchange="", routing_key=GREETING_KEY)
            if alarms:
                raise BlockedError(alarms[0])
        connection.release()
    except Exception as error:
        connection.collect()
        failed(publisher, PublishError(f"The broker takes no messages: {type(error).__name__}"))
        return False
    return True


def _worth_a_probe(publisher: Publisher, now: datetime) -> bool:
    """Only with an event to send, or the probe is used up and nobody wiser; and with none waiting at all, see below."""
    return _pending().filter(due_at__lte=now).exists() or (publisher.name == BROKER and not _pending().exists())


def _half_open(publisher: Publisher, limit: int, seconds: float) -> Choice:
    """A few events prove the channel. With none waiting the greeting has to do, or it would count as failing for ever."""
    if publisher.name == BROKER and not _pending().exists():
        succeeded(publisher)
        return Choice(publisher, limit, timeout_seconds=seconds)
    return Choice(publisher, min(limit, PROBE_BATCH), probing=True, timeout_seconds=seconds)


def _pending() -> QuerySet[OutboxMessage]:
    return OutboxMessage.objects.filter(state=OutboxMessage.State.PENDING)


def _take_probe(name: str, now: datetime, seconds: float) -> bool:
    """One relay gets the probe: the conditional UPDATE decides. A prober that dies frees it after the publish timeout."""
    next_try = now + timedelta(seconds=seconds + settings.OUTBOX_PROBE_SECONDS)
    ahead = Q(retry_at__gt=now + timedelta(seconds=FARTHEST_PROBE_SECONDS))
    return bool(
        ChannelState.objects.filter(Q(retry_at__lte=now) | Q(retry_at=None) | ahead, name=name, disabled=False).update(
            retry_at=next_try
        )
    )


def succeeded(publisher: Publisher) -> None:
    """The channel took something: closes its breaker, with one cheap statement that usually changes nothing."""
    ChannelState.objects.filter(name=publisher.name, failing_since__isnull=False).update(
        failing_since=None, retry_at=None, failures=0, reason="", changed_at=database_now()
    )


def unused(publisher: Publisher) -> None:
    """A probe that told nothing of the channel: nothing was in turn, or all was refused. Hands it back for the next pass."""
    ChannelState.objects.filter(name=publisher.name, failing_since__isnull=False).update(retry_at=database_now())


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
            # Not in the future, where a clock that was ahead has put it: the fallback would wait for that.
            failing_since=min(state.failing_since or now, now),
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
