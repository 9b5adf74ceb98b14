"""The Publisher contract: what every channel must do, and how channels are loaded from settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

from outbox.batch import Refusal
from outbox.envelope import Message, StoredEvent, wrap

__all__ = ["Outcome", "PublishError", "Publisher", "Refusal", "StoredEvent", "in_order", "publishers", "wrap_all"]


class PublishError(Exception):
    """The channel as a whole cannot take events now. `gone`: it never will again until an operator acts (410)."""

    def __init__(self, reason: str, *, gone: bool = False, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.gone = gone
        self.retry_after_seconds = retry_after_seconds


@dataclass(slots=True)
class Outcome:
    """What became of a batch. An event in neither `confirmed` nor `refused` is unclear and will be sent again.

    `trouble` is set when the channel failed on the way; what was confirmed before that stays confirmed.
    """

    confirmed: set[UUID] = field(default_factory=set)
    refused: dict[UUID, Refusal] = field(default_factory=dict)
    trouble: PublishError | None = None


class Publisher(Protocol):
    """A channel. Never raises for what happens on the wire: it says so in the Outcome.

    Sends the events of one key in the order given, and none of them after it knows that an earlier one failed. One that
    was already on its way by then may be confirmed: `in_order` makes the relay send it again, after the one that failed.
    An event counts as confirmed only when the other side has said that it has it.
    """

    name: str

    def available(self) -> bool:
        """Whether this channel is configured at all."""

    def publish(
        self, events: Sequence[StoredEvent], routes: Mapping[str, Mapping[str, str]], deadline: float
    ) -> Outcome:
        """Delivers `events` before `deadline` (time.monotonic()), or says which were not."""

    def close(self) -> None:
        """Drops connections; the next publish opens new ones."""


@cache
def publishers() -> tuple[Publisher, ...]:
    """The channels of OUTBOX_PUBLISHERS, first choice first; one instance of each per process."""
    return tuple(import_string(path)() for path in settings.OUTBOX_PUBLISHERS)


def wrap_all(events: Sequence[StoredEvent], routes: Mapping[str, Mapping[str, str]], outcome: Outcome) -> list[Message]:
    """The wire messages of `events`. One that cannot be wrapped is refused alone and stops its key, not its neighbours."""
    messages = []
    stopped: set[str] = set()
    for event in events:
        if event.key in stopped:
            continue
        try:
            messages.append(wrap(event, routes[event.topic], settings.OUTBOX_SOURCE))
        except Exception as error:
            # Whatever is wrong with it or its route must not look like trouble of the channel: that would stop them all.
            known = event.topic in routes
            reason = (
                f"Cannot be wrapped: {error!r}" if known else f"No route for topic {event.topic!r} in OUTBOX_ROUTES."
            )
            outcome.refused[event.id] = Refusal(reason)
            stopped.add(event.key)
    return messages


def in_order(events: Sequence[StoredEvent], outcome: Outcome) -> None:
    """Takes back what overtook an event of its key that will be sent again, so that it is sent again after that one.

    Pipelined events are on their way before the first is known to have failed. Those behind it are then handed back
    without an attempt, whatever became of them: a duplicate is the price, the last one to arrive is the latest.
    """
    if len(outcome.confirmed) == len(events):
        return
    stopped: set[str] = set()
    for event in events:
        if event.key in stopped:
            outcome.confirmed.discard(event.id)
            outcome.refused.pop(event.id, None)
        elif event.id not in outcome.confirmed:
            refusal = outcome.refused.get(event.id)
            if refusal is None or not refusal.permanent or settings.OUTBOX_DEAD_BLOCKS_KEY:
                stopped.add(event.key)
