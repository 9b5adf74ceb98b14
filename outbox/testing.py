"""For the tests of those who build on the outbox: what was enqueued, and a delivery without a broker."""

import json
import time
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from outbox.claim import claim, settle
from outbox.envelope import StoredEvent
from outbox.models import OutboxMessage
from outbox.publisher import Outcome, Publisher, in_order


def enqueued(event_type: str | None = None, key: str | None = None) -> list[dict[str, Any]]:
    """The CloudEvents in the outbox, in the order of their ids; of one type, of one key."""
    rows = OutboxMessage.objects.order_by("id")
    if event_type is not None:
        rows = rows.filter(type=event_type)
    if key is not None:
        rows = rows.filter(key=key)
    return [json.loads(body) for body in rows.values_list("body", flat=True)]


def assert_enqueued(event_type: str, *, key: str | None = None, count: int = 1) -> list[dict[str, Any]]:
    """Raises AssertionError, with what there is, unless exactly `count` such events were enqueued. Returns them."""
    found = enqueued(event_type, key)
    if len(found) != count:
        there = [f"{event['type']} of {event['subject']}" for event in enqueued()]
        raise AssertionError(f"Expected {count} x {event_type} of {key or 'any key'}, found {len(found)} in {there}.")
    return found


def drain(publisher: Publisher | None = None, limit: int = 500) -> list[StoredEvent]:
    """Delivers what is due to `publisher` (default: to nobody) and settles it; returns what was delivered, in order.

    No breaker and no fallback; what the publisher refuses stays for later, as in real life.
    """
    delivered: list[StoredEvent] = []
    while True:
        batch = claim(limit=limit, lease_seconds=settings.OUTBOX_LEASE_SECONDS, relay="drain")
        if not batch.events:
            if batch.more:
                continue
            return delivered
        outcome = _publish(publisher, batch.events)
        in_order(batch.events, outcome)
        settle(batch, confirmed=outcome.confirmed, refused=outcome.refused, channel="test", confirm_ms=0)
        delivered += [event for event in batch.events if event.id in outcome.confirmed]
        if outcome.trouble is not None:
            return delivered


def _publish(publisher: Publisher | None, events: Sequence[StoredEvent]) -> Outcome:
    if publisher is None:
        return Outcome(confirmed={event.id for event in events})
    return publisher.publish(events, settings.OUTBOX_ROUTES, time.monotonic() + settings.OUTBOX_PUBLISH_TIMEOUT_SECONDS)
