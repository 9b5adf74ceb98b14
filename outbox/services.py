"""enqueue(): the only way into the outbox; refuses outside a database transaction. And the operators' verbs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections, router, transaction

from outbox import claim, context, envelope, tracing, wakeup
from outbox.ids import time_of, uuid7
from outbox.models import OutboxMessage

# Part of this door: what an Event's data may be.
JsonText = envelope.JsonText


class OutsideTransactionError(RuntimeError):
    """enqueue() was called where no database transaction is open: the event could exist without its change."""


class EventTooLargeError(ValueError):
    """The event is larger than OUTBOX_MAX_EVENT_BYTES; the caller can still shorten it."""


class UnknownTopicError(ValueError):
    """No route in OUTBOX_ROUTES carries this topic."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event to enqueue. `sequence` orders the events of one `key`; `data` must be JSON, or be its text."""

    topic: str
    type: str
    key: str
    sequence: int
    data: Mapping[str, Any] | JsonText
    traceparent: str | None = None
    id: UUID = field(default_factory=uuid7)


@dataclass(frozen=True, slots=True)
class EventState:
    """What the outbox knows of one event, for histories. `channel` is None until it was delivered."""

    id: UUID
    type: str
    sequence: int
    state: str
    channel: str | None
    created_at: datetime
    delivered_at: datetime | None
    attempts: int


def enqueue(events: Sequence[Event], using: str | None = None) -> list[UUID]:
    """Writes `events` with one INSERT into the open transaction and arranges the wake-up of a relay for its commit.

    Raises OutsideTransactionError, EventTooLargeError, UnknownTopicError. Returns the event ids.
    """
    alias = using or router.db_for_write(OutboxMessage)
    if not connections[alias].in_atomic_block:
        raise OutsideTransactionError(
            "enqueue() needs an open transaction: call it inside `with transaction.atomic():` with the change it tells of."
        )
    if not events:
        return []
    rows = [_row(event) for event in events]
    OutboxMessage.objects.using(alias).bulk_create(rows)
    announce(alias)
    return [row.id for row in rows]


# For a caller whose own change is a function in PostgreSQL: `PERFORM outbox_enqueue_v2(…)` in it (migration 0007), with
# these values, makes change and event one by construction and costs no round trip. After the commit call announce() unless
# `wake` was true, with which the commit itself wakes a relay.
def insert_values(events: Sequence[Event]) -> dict[str, str | bool]:
    """Ids and heads for outbox_enqueue_v2, as texts with a line each, since drivers spell arrays out item by item; `wake`.

    Topic, type, sequence, keys and data are not sent a second time: the caller's function knows them, and they must be
    those of `events`. Raises EventTooLargeError, UnknownTopicError.
    """
    return {
        "event_ids": "\n".join([str(event.id) for event in events]),
        "event_heads": "\n".join([_head_and_data(event)[0] for event in events]),
        "wake": wakeup.take(),
    }


def announce(using: str | None = None) -> None:
    """Wakes a relay after the commit; at once where no transaction is open."""
    alias = using or router.db_for_write(OutboxMessage)
    if not connections[alias].in_atomic_block:
        wakeup.poke()
        return
    # robust: another callback's failure must not stop ours, nor ours the caller's. A lost wake-up costs one tick.
    transaction.on_commit(wakeup.poke, using=alias, robust=True)


def _row(event: Event) -> OutboxMessage:
    head, data = _head_and_data(event)
    body = f"{head}{data}}}"
    return OutboxMessage(
        id=event.id, topic=event.topic, type=event.type, key=event.key, sequence=event.sequence, body=body
    )


def _head_and_data(event: Event) -> tuple[str, str]:
    """The event's text in two parts, `head` with all that is not data; behind both comes a brace."""
    if event.topic not in settings.OUTBOX_ROUTES:
        raise UnknownTopicError(f"No route for topic {event.topic!r}: add it to OUTBOX_ROUTES.")
    traceparent = event.traceparent
    if tracing.ON:
        # The event is written once and for good, so it names this span; whatever happens to it later is its child.
        names = {"event_id": str(event.id), "transaction_id": event.key}
        parent = None if tracing.tracer.current() else traceparent
        with tracing.tracer.span(f"enqueue {event.type}", "producer", parent, names) as traceparent:
            pass
    elif traceparent is None:
        traceparent = context.new_traceparent()
    head = envelope.head(
        event_id=event.id,
        source=settings.OUTBOX_SOURCE,
        event_type=event.type,
        key=event.key,
        sequence=event.sequence,
        time=time_of(event.id),
        traceparent=traceparent,
        correlation_id=context.names().get("request_id"),
    )
    data = envelope.as_json(event.data)
    if (size := len(head.encode()) + len(data.encode()) + 1) > settings.OUTBOX_MAX_EVENT_BYTES:
        raise EventTooLargeError(f"The event has {size} bytes, the limit is {settings.OUTBOX_MAX_EVENT_BYTES}.")
    return head, data


def history(key: str, latest: int | None = None) -> list[EventState]:
    """The events of one key in order of their sequence; only so many of the `latest`, where that is given."""
    rows = OutboxMessage.objects.filter(key=key).only(*_TOLD)
    if latest is None:
        return [_state_of(row) for row in rows.order_by("sequence", "id")]
    return [_state_of(row) for row in rows.order_by("-sequence", "-id")[:latest]][::-1]


def published_between(start: datetime, end: datetime, limit: int) -> list[EventState]:
    """What was delivered from `start` to `end`, newest first, up to `limit`."""
    rows = OutboxMessage.objects.filter(state=OutboxMessage.State.PUBLISHED, published_at__range=(start, end)).only(
        *_TOLD
    )
    return [_state_of(row) for row in rows.order_by("-published_at")[:limit]]


# What an EventState is made of: not the body, of which a key with many versions has megabytes.
_TOLD = ("id", "type", "sequence", "state", "channel", "published_at", "attempts")


def _state_of(row: OutboxMessage) -> EventState:
    return EventState(
        row.id,
        row.type,
        row.sequence,
        row.state,
        row.channel or None,
        time_of(row.id),
        row.published_at,
        row.attempts,
    )


# The planner would read all events of all keys for a DISTINCT ON, and the ORM would ask key by key: a round trip each.
_NEWEST = """
    SELECT asked.key, newest.id, newest.state, newest.discarded
      FROM unnest(%s::text[]) AS asked(key)
     CROSS JOIN LATERAL (SELECT id, state, discarded FROM outbox_outboxmessage AS event WHERE event.key = asked.key
                          ORDER BY event.sequence DESC, event.id DESC LIMIT 1) AS newest
"""


def requeue(ids: Iterable[UUID]) -> int:
    """Makes dead or published events pending again, same id and bytes; returns how many changed. Safe to press twice."""
    changed = claim.requeue(list(ids))
    if changed:
        announce()
    return changed


def recall() -> int:
    """For the clock: lets events look again that wait for a time that the database's clock, since set back, was ahead by.

    Some at a time; returns how many.
    """
    changed = claim.recall()
    if changed:
        announce()
    return changed


def discard(ids: Iterable[UUID], reason: str) -> int:
    """Gives up waiting and dead events that no relay holds: dead, with `reason`, and no longer in the way of their key.

    Returns how many changed. Safe to press twice.
    """
    return claim.discard(list(ids), reason)


def resend_latest(keys: Collection[str], *, dead_too: bool = False) -> dict[str, UUID | None]:
    """Sends the newest event of each key once more, same id and bytes; returns which it is, None for one left alone.

    Left alone is what waits to be sent anyway, what is dead unless `dead_too`, and what somebody discarded: that comes back by
    its own id. A key without an event (any more) is not in the answer.
    """
    may_be = {OutboxMessage.State.PUBLISHED, OutboxMessage.State.DEAD} if dead_too else {OutboxMessage.State.PUBLISHED}
    found = {
        key: event_id if state in may_be and not discarded else None
        for key, event_id, state, discarded in _newest(keys)
    }
    if again := [event_id for event_id in found.values() if event_id]:
        requeue(again)
    return found


def _newest(keys: Collection[str]) -> list[tuple[str, UUID, str, bool]]:
    """Key, id, state and whether it was discarded, of the newest event of each key that has one: one look into an index a key."""
    connection = connections[router.db_for_write(OutboxMessage)]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_NEWEST, [list(keys)])
            found: list[tuple[str, UUID, str, bool]] = cursor.fetchall()
            return found
    rows = OutboxMessage.objects.order_by("-sequence", "-id").values_list("key", "id", "state", "discarded")
    return [newest for key in keys if (newest := rows.filter(key=key).first())]
