"""The Consumer as a model: takes events by both doors, decides each once, sends its results until it has a 2xx."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from tests.simulation.scheduler import Scheduler


@dataclass(slots=True)
class SentResult:
    """One result, the same bytes at every attempt."""

    webhook_id: str
    transaction_id: UUID
    version: int
    outcome: str
    body: bytes
    taken: bool = False


@dataclass(slots=True)
class Told:
    """What an event says."""

    id: UUID
    transaction_id: UUID
    version: int
    canceled: bool


@dataclass(slots=True)
class Consumer:
    """Its memory is a database of its own, which never fails here: it is not what is tested."""

    scheduler: Scheduler
    find: Callable[[UUID], Told]
    seen: set[UUID] = field(default_factory=set)
    newest: dict[UUID, int] = field(default_factory=dict)
    results: list[SentResult] = field(default_factory=list)

    def process(self, event_id: UUID) -> None:
        """Drops copies by id and old news by version; a copy opens its results again, as the reference Consumer does."""
        event = self.find(event_id)
        if event_id in self.seen:
            for result in self.results:
                if (result.transaction_id, result.version) == (event.transaction_id, event.version):
                    result.taken = False
            return
        self.seen.add(event_id)
        if event.version <= self.newest.get(event.transaction_id, 0):
            return
        self.newest[event.transaction_id] = event.version
        if event.canceled:
            return
        chance = self.scheduler.random
        if chance.random() < 0.3:
            self._answer(event, "processing")
        self._answer(event, chance.choice(("succeeded", "failed")))

    def _answer(self, event: Told, outcome: str) -> None:
        data = {"transaction_id": str(event.transaction_id), "transaction_version": event.version}
        if outcome == "succeeded":
            data["processed_data"] = {}
        if outcome == "failed":
            data["error"] = {"code": "no", "message": "No."}
        body = {"type": f"transaction.{outcome}", "timestamp": "2026-11-22T12:00:00Z", "data": data}
        made = SentResult(
            f"res_{len(self.results)}", event.transaction_id, event.version, outcome, json.dumps(body).encode()
        )
        self.results.append(made)

    def waiting(self) -> list[SentResult]:
        """What has no 2xx yet."""
        return [result for result in self.results if not result.taken]
