"""run_once(): claim, deliver, settle; returns counts; never loops and never sleeps."""

import logging
import os
import socket
import time
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings

from outbox import delivery
from outbox.claim import Batch, claim, release, settle
from outbox.publisher import Outcome, Publisher

log = logging.getLogger(__name__)

RELAY_NAME = f"{socket.gethostname()}:{os.getpid()}"
# A look from the very beginning of the due index at least this often (seconds), whatever the horizon says.
FULL_SCAN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What one pass did. `waiting`: no channel could be used. `more`: further events are probably due now."""

    claimed: int = 0
    published: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0
    lost: int = 0
    channel: str = ""
    waiting: bool = False
    more: bool = False

    def __bool__(self) -> bool:
        return bool(self.claimed)


@dataclass(slots=True)
class Horizon:
    """Where the last claim ended: a hint that keeps claims flat while old index entries cannot be vacuumed."""

    due_at: datetime | None = None
    scanned_at: float = field(default_factory=time.monotonic)

    def hint(self) -> datetime | None:
        """The due time to start from, or None when a full scan is due."""
        if self.due_at is not None and time.monotonic() - self.scanned_at < FULL_SCAN_SECONDS:
            return self.due_at
        self.scanned_at = time.monotonic()
        return None

    def moved(self, batch: Batch) -> None:
        """Remembers where a full batch ended; after a short one the next claim starts from the beginning."""
        self.due_at = batch.horizon if batch.full else None


def run_once(*, limit: int | None = None, relay: str = RELAY_NAME, horizon: Horizon | None = None) -> Counts:
    """One pass: at most one batch, on one channel, within the publish timeout plus three short transactions."""
    horizon = horizon or Horizon()
    choice = delivery.choose(limit or settings.OUTBOX_BATCH_SIZE)
    publisher = choice.publisher
    if publisher is None:
        return Counts(waiting=True)
    batch = claim(
        limit=choice.limit,
        lease_seconds=settings.OUTBOX_LEASE_SECONDS,
        relay=relay,
        after=None if choice.probing else horizon.hint(),
    )
    horizon.moved(batch)
    if not batch.events:
        return Counts(more=batch.full, channel=publisher.name)
    started = time.monotonic()
    try:
        outcome = publisher.publish(
            batch.events, settings.OUTBOX_ROUTES, started + settings.OUTBOX_PUBLISH_TIMEOUT_SECONDS
        )
    except BaseException:
        # A defect in a publisher, or a stop in the middle: nobody knows what is out, so nothing is settled but handed back.
        publisher.close()
        release(batch, "The relay stopped in the middle of a publish.")
        raise
    return _settle(batch, outcome, publisher, round((time.monotonic() - started) * 1000))


def _settle(batch: Batch, outcome: Outcome, publisher: Publisher, elapsed_ms: int) -> Counts:
    settled = settle(
        batch,
        confirmed=outcome.confirmed,
        refused=outcome.refused,
        channel=publisher.name,
        confirm_ms=elapsed_ms,
        release_reason=outcome.trouble.reason if outcome.trouble else "",
    )
    if outcome.trouble:
        delivery.failed(publisher, outcome.trouble)
        log.warning("channel away", extra={"channel": publisher.name, "reason": outcome.trouble.reason})
    elif outcome.confirmed:
        delivery.succeeded(publisher)
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
        more=batch.full and outcome.trouble is None,
    )
