"""What a claim hands out, what a publisher says of it, and what a settlement changed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outbox.envelope import StoredEvent


@dataclass(frozen=True, slots=True)
class Batch:
    """Claimed events in the order in which they must go out; `more` says that others may be due now.

    `horizon`: the next claim may start there (see `claim`), or None when it must start from the beginning.
    """

    token: UUID
    events: list[StoredEvent]
    more: bool
    horizon: datetime | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one event was not delivered. `permanent`: no retry helps. `blameless`: the channel's fault, burns no attempt."""

    reason: str
    permanent: bool = False
    blameless: bool = False


@dataclass(slots=True)
class Settled:
    """Rows changed by one settlement; `lost` were settled by nobody because the lease had passed to another relay."""

    published: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0
    lost: int = 0
