"""run_once(): claim, deliver, settle; returns counts; never loops and never sleeps."""

import logging
import os
import socket
import time
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from outbox import context, delivery, instruments, tracing
from outbox.batch import Batch
from outbox.claim import abandon, claim, release, settle
from outbox.publisher import Outcome, Publisher, in_order

log = logging.getLogger(__name__)

RELAY_NAME = f"{socket.gethostname()}:{os.getpid()}"
# A look from the very beginning of the due index at least this often (seconds), whatever the horizon says.
FULL_SCAN_SECONDS = 2.0
# However long a full scan takes, the next is not put off for longer (seconds).
FULL_SCAN_CAP_SECONDS = 30.0
# Kept on the row of an event that was handed back although its channel works.
_OVERTAKEN = "Waits for an earlier event of its key, which failed."


@dataclass(frozen=True, slots=True)
class Counts:
    """What one pass did. `waiting`: no channel could be used. `trouble`: the one that was used failed on the way.

    `more`: further events are probably due now.
    """

    claimed: int = 0
    published: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0
    lost: int = 0
    channel: str = ""
    waiting: bool = False
    trouble: bool = False
    more: bool = False

    def __bool__(self) -> bool:
        return bool(self.claimed)


@dataclass(slots=True)
class Horizon:
    """Where the last claim ended: a hint that keeps claims flat while old index entries cannot be vacuumed."""

    due_at: datetime | None = None
    full_scan_at: float = 0.0

    def hint(self) -> datetime | None:
        """The due time to start from, or None when a full scan is due."""
        return self.due_at if time.monotonic() < self.full_scan_at else None

    def moved(self, batch: Batch, started: float, hint: datetime | None) -> None:
        """Remembers where a batch ended. Full scans take 5 % of the time at most, so a slow one is repeated the later."""
        self.due_at = batch.horizon
        if hint is None:
            now = time.monotonic()
            self.full_scan_at = now + min(max(FULL_SCAN_SECONDS, 20 * (now - started)), FULL_SCAN_CAP_SECONDS)


def run_once(*, limit: int | None = None, relay: str = RELAY_NAME, horizon: Horizon | None = None) -> Counts:
    """One pass: at most one batch, on one channel, within the publish timeout plus two short transactions."""
    choice = delivery.choose(limit or settings.OUTBOX_BATCH_SIZE)
    publisher = choice.publisher
    if publisher is None:
        return Counts(waiting=True)
    batch = _claim(choice, relay, horizon or Horizon())
    if not batch.events:
        if choice.probing:
            delivery.unused(publisher)
        return Counts(more=batch.more, channel=publisher.name)
    started = time.monotonic()
    try:
        outcome = publisher.publish(batch.events, settings.OUTBOX_ROUTES, started + choice.timeout_seconds)
    except Exception as error:
        # Publishers do not raise, so this is a defect, maybe one that only some event brings out. They are left as by
        # a relay that died of them: counted, tried again later and in ever smaller batches, until it is alone.
        log.exception("publisher raised", extra={"channel": publisher.name})
        publisher.close()
        abandoned = abandon(batch, f"The publisher raised {error!r}"[:500])
        return Counts(claimed=len(batch.events), retried=abandoned, channel=publisher.name, more=batch.more)
    except BaseException:
        # Told to stop in the middle: nobody knows what is out, so nothing is settled but handed back.
        publisher.close()
        release(batch, "The relay stopped in the middle of a publish.")
        raise
    in_order(batch.events, outcome)
    return _settle(batch, outcome, choice, publisher, round((time.monotonic() - started) * 1000))


def _claim(choice: delivery.Choice, relay: str, horizon: Horizon) -> Batch:
    # A probe looks everywhere, and on when a claim found only events out of turn and moved them away: their heads may be
    # due behind them. Not for longer than _take_probe keeps other relays off.
    until = time.monotonic() + settings.OUTBOX_PROBE_SECONDS
    while True:
        started, hint = time.monotonic(), None if choice.probing else horizon.hint()
        batch = claim(limit=choice.limit, lease_seconds=settings.OUTBOX_LEASE_SECONDS, relay=relay, after=hint)
        horizon.moved(batch, started, hint)
        if batch.events or not (choice.probing and batch.more) or time.monotonic() > until:
            return batch


def _log_each(batch: Batch, outcome: Outcome, channel: str) -> None:
    for event in batch.events:
        if event.id in outcome.confirmed:
            names = {"event_id": str(event.id), "transaction_id": event.key, "channel": channel}
            log.info("event published", extra={**names, "request_id": context.correlation_of(event.body.encode())})


def _settle(batch: Batch, outcome: Outcome, choice: delivery.Choice, publisher: Publisher, elapsed_ms: int) -> Counts:
    settled = settle(
        batch,
        confirmed=outcome.confirmed,
        refused=outcome.refused,
        channel=publisher.name,
        confirm_ms=elapsed_ms,
        release_reason=outcome.trouble.reason if outcome.trouble else _OVERTAKEN,
    )
    if tracing.ON:
        ended = time.time_ns()
        confirmed = [event for event in batch.events if event.id in outcome.confirmed]
        tracing.published(confirmed, publisher.name, ended - elapsed_ms * 1_000_000, ended)
    if settings.LOG_EACH:
        _log_each(batch, outcome, publisher.name)
    instruments.batch_settled(batch.events, outcome, settled, publisher.name, elapsed_ms / 1000)
    if outcome.trouble:
        delivery.failed(publisher, outcome.trouble)
        log.warning("channel away", extra={"channel": publisher.name, "reason": outcome.trouble.reason})
    elif outcome.confirmed and choice.probing:
        delivery.succeeded(publisher)
    elif choice.probing:
        delivery.unused(publisher)
    for event_id, refusal in list(outcome.refused.items())[:10]:
        log.warning("event refused", extra={"event_id": str(event_id), "reason": refusal.reason})
    if settled.lost:
        log.warning("lease lost", extra={"events": settled.lost, "relay": RELAY_NAME})
    return Counts(
        claimed=len(batch.events),
        published=settled.published,
        retried=settled.retried,
        dead=settled.dead,
        released=settled.released,
        lost=settled.lost,
        channel=publisher.name,
        trouble=outcome.trouble is not None,
        more=outcome.trouble is None and (batch.more or bool(settled.released)),
    )
