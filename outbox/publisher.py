"""The Publisher contract: what every channel must do, and how channels are loaded from settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

from outbox.claim import Refusal
from outbox.envelope import Message, StoredEvent, wrap

__all__ = ["Outcome", "PublishError", "Publisher", "Refusal", "StoredEvent", "publishers", "wrap_all"]


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

    Events of one key arrive in the order given; after the first of a key that fails, later ones of that key are not sent.
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
    """The wire messages of `events`. One that no route carries is refused alone and does not stop its neighbours."""
    messages = []
    for event in events:
        route = routes.get(event.topic)
        if route is None:
            outcome.refused[event.id] = Refusal(f"No route for topic {event.topic!r} in OUTBOX_ROUTES.")
        else:
            messages.append(wrap(event, route, settings.OUTBOX_SOURCE))
    return messages
