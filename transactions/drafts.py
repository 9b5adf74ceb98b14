"""A transaction that is about to be written: its id and times are known, so its answer can be made before the row."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from json.encoder import encode_basestring as quoted
from typing import Any, ClassVar
from uuid import UUID

from outbox.ids import time_of, uuid7
from transactions.moments import moment
from transactions.money import format_amount
from transactions.serializers import dumps, etag
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
    key: str = field(init=False)
    text: str = field(init=False, repr=False)

    status: ClassVar[str] = Status.PENDING.value
    version: ClassVar[int] = 1
    overdue: ClassVar[bool] = False
    processed_data: ClassVar[None] = None
    error: ClassVar[None] = None
    processed_at: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Fills in the times, the id as text, and the representation as text: made once, used by answer, row and event."""
        self.created_at = self.updated_at = time_of(self.id)
        if self.transaction_date is None:
            self.transaction_date = self.created_at
        self.key = str(self.id)
        self.text = self._represent()

    def _represent(self) -> str:
        """`dumps(represent(self))`, from a template, since the encoder takes five times as long.

        What a pattern has let through (account number, currency, direction) needs no quoting.
        """
        external_id = "null" if self.external_id is None else quoted(self.external_id)
        metadata = dumps(self.metadata) if self.metadata else "{}"
        now = moment(self.created_at)
        return (
            f'{{"id":"{self.key}","external_id":{external_id},"account_number":"{self.account_number}",'
            f'"amount":"{format_amount(self.amount, self.currency)}","currency":"{self.currency}",'
            f'"direction":"{self.direction}","transaction_date":"{moment(self.transaction_date)}",'
            f'"description":{quoted(self.description)},"metadata":{metadata},"status":"pending","version":1,'
            f'"processed_data":null,"error":null,"overdue":false,"created_at":"{now}","updated_at":"{now}",'
            '"processed_at":null}'
        )

    @property
    def etag(self) -> str:
        """The ETag that the row will have."""
        return etag(self)
