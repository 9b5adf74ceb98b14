"""A transaction that is about to be written: its id and times are known, so its answer can be made before the row."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from outbox.ids import time_of, uuid7
from transactions.serializers import dumps, etag, represent
from transactions.states import Status


@dataclass(slots=True)
class Draft:
    """Looks like a Transaction to `represent`, without the cost of a model instance (a batch has a thousand)."""

    account_number: str
    amount: Decimal
    currency: str
    direction: str
    external_id: str | None = None
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    transaction_date: datetime | None = None
    id: UUID = field(default_factory=uuid7)
    created_at: datetime = field(init=False)
    updated_at: datetime = field(init=False)
    shown: dict[str, Any] = field(init=False, repr=False)
    text: str = field(init=False, repr=False)

    status: ClassVar[str] = Status.PENDING.value
    version: ClassVar[int] = 1
    overdue: ClassVar[bool] = False
    processed_data: ClassVar[None] = None
    error: ClassVar[None] = None
    processed_at: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Fills in the times, and the representation as value and as text: made once, used three times."""
        self.created_at = self.updated_at = time_of(self.id)
        if self.transaction_date is None:
            self.transaction_date = self.created_at
        self.shown = represent(self)
        self.text = dumps(self.shown)

    @property
    def etag(self) -> str:
        """The ETag that the row will have."""
        return etag(self)
