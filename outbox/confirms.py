"""Matches the broker's acks, nacks and returns to what was published on one channel; pure bookkeeping.

py-amqp's own wait for a confirm takes any ack for the last message; this keeps the delivery tags apart.
"""

from collections import OrderedDict
from uuid import UUID


class ConfirmTracker:
    """Tags count from 1 per channel in the order of publishing (RabbitMQ, Publisher Confirms).

    A return (unroutable) precedes its ack and carries the message id; the ack that follows it is not a confirmation.
    """

    def __init__(self) -> None:
        self._next_tag = 1
        self._waiting: OrderedDict[int, UUID] = OrderedDict()
        self.confirmed: set[UUID] = set()
        self.nacked: set[UUID] = set()
        self.returned: dict[UUID, str] = {}

    def published(self, message_id: UUID) -> None:
        """Notes that `message_id` was handed to the channel as its next message."""
        self._waiting[self._next_tag] = message_id
        self._next_tag += 1

    @property
    def outstanding(self) -> int:
        """How many messages have neither ack nor nack."""
        return len(self._waiting)

    def on_ack(self, tag: int, multiple: bool) -> None:
        """basic.ack: `tag`, or with `multiple` all up to it."""
        for message_id in self._take(tag, multiple):
            if message_id not in self.returned:
                self.confirmed.add(message_id)

    def on_nack(self, tag: int, multiple: bool) -> None:
        """basic.nack: the broker did not take responsibility."""
        self.nacked.update(self._take(tag, multiple))

    def on_return(self, message_id: str | None, reason: str) -> None:
        """basic.return: no queue is bound for it. A return without a readable id counts against everything waiting."""
        try:
            self.returned[UUID(message_id or "")] = reason
        except ValueError:
            self.returned.update(dict.fromkeys(self._waiting.values(), reason))

    def forget(self) -> None:
        """Starts a new batch on the same channel; tags go on counting. Only legal when nothing is outstanding."""
        if self._waiting:
            raise RuntimeError("Unconfirmed messages are outstanding: close the connection instead.")
        self.confirmed, self.nacked, self.returned = set(), set(), {}

    def _take(self, tag: int, multiple: bool) -> list[UUID]:
        if not multiple:
            message_id = self._waiting.pop(tag, None)
            return [] if message_id is None else [message_id]
        taken = []
        while self._waiting:
            first = next(iter(self._waiting))
            if tag != 0 and first > tag:
                break
            taken.append(self._waiting.pop(first))
        return taken
