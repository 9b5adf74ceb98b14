"""Follows submitted transactions through the API until each has its result."""

import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from producer.demo.numbers import percentile, seconds_between
from producer.demo.submit import Api

FINAL = ("succeeded", "failed", "canceled")
# A row may become visible a little after its updated_at; asking again from a bit earlier never misses one.
OVERLAP = timedelta(seconds=10)


class Results:
    def __init__(self, api: Api, ids: Iterable[str]) -> None:
        self._api = api
        self._status: dict[str, str] = dict.fromkeys(ids, "pending")
        self._seconds: dict[str, float] = {}
        self._since: str | None = None
        self.last_progress = time.monotonic()

    def poll(self) -> None:
        newest = self._since or ""
        for transaction in self._api.changed_since(_earlier(self._since)):
            newest = max(newest, transaction["updated_at"])
            self._note(transaction)
        self._since = newest or None

    def _note(self, transaction: dict[str, Any]) -> None:
        identity, status = transaction["id"], transaction["status"]
        if identity not in self._status or self._status[identity] == status:
            return
        self._status[identity] = status
        self.last_progress = time.monotonic()
        if status in FINAL and transaction["processed_at"]:
            self._seconds[identity] = seconds_between(transaction["created_at"], transaction["processed_at"])

    @property
    def total(self) -> int:
        return len(self._status)

    @property
    def done(self) -> int:
        return sum(1 for status in self._status.values() if status in FINAL)

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(self._status.values()).most_common())

    def decided(self) -> int:
        """Those with a result of the Consumer: the contract's measure of a good run."""
        return sum(1 for status in self._status.values() if status in ("succeeded", "failed"))

    def end_to_end(self, share: float) -> float:
        """Seconds from created_at to processed_at, both by the Producer's clock."""
        return percentile(list(self._seconds.values()), share)


def _earlier(moment: str | None) -> str | None:
    if moment is None:
        return None
    return (datetime.fromisoformat(moment) - OVERLAP).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
