"""Builders of events, and doors that record instead of sending."""

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
import responses
from django.conf import settings

from processing import delivery, queue_door, signing, webhook_door
from processing.breaker import Breaker

IBAN = "DE89370400440532013000"

# A busy machine is no failure: by default an example may take 200 ms. With CI=true the library has a profile without that limit.
hypothesis.settings.register_profile("anywhere", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
if os.environ.get("CI", "").lower() not in {"1", "true"}:
    hypothesis.settings.load_profile("anywhere")


def make_event(kind: str = "transaction.created", version: int = 1, **changes: Any) -> dict[str, Any]:
    """A CloudEvent as the contract describes it; `event_id`, `transaction_id` and members of the transaction change it."""
    event_id = changes.pop("event_id", str(uuid4()))
    transaction_id = changes.pop("transaction_id", str(uuid4()))
    transaction = {
        "id": transaction_id,
        "external_id": None,
        "account_number": IBAN,
        "amount": "125.50",
        "currency": "EUR",
        "direction": "debit",
        "transaction_date": "2026-11-22T10:15:00Z",
        "description": f"Rechnung Zażółć {transaction_id}",
        "metadata": {},
        "status": "pending",
        "version": version,
        **changes,
    }
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "urn:producer",
        "type": kind,
        "subject": transaction_id,
        "time": "2026-11-22T10:15:00Z",
        "datacontenttype": "application/json",
        "sequence": str(version).zfill(20),
        "partitionkey": transaction_id,
        "data": {"transaction": transaction},
    }


def signed_headers(webhook_id: str, body: bytes, at: float | None = None) -> dict[str, str]:
    return signing.sign([settings.FALLBACK_KEYS[0]], webhook_id, int(time.time() if at is None else at), body)


def body_of(event: Any) -> bytes:
    return json.dumps(event).encode()


@pytest.fixture(autouse=True)
def closed_breakers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test meets doors that nobody has knocked at."""
    monkeypatch.setattr(delivery, "webhook_breaker", Breaker(settings.QUEUE_DOOR_AFTER, delivery.PROBE_SECONDS))
    monkeypatch.setattr(delivery, "queue_breaker", Breaker(1, delivery.PROBE_SECONDS))


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between quick tries, noted and not slept."""
    noted: list[float] = []
    monkeypatch.setattr(webhook_door, "pause", noted.append)
    return noted


@pytest.fixture(autouse=True)
def producer() -> Iterator[responses.RequestsMock]:
    """The Producer's side of every HTTP call; a call that no test announced is a connection error."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


class QueueDoor:
    """Records what would go by the queue door; `shut` makes it fail."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.knocks = 0
        self.shut = False

    def send(self, webhook_id: str, body: str) -> None:
        self.knocks += 1
        if self.shut:
            raise queue_door.QueueDoorError("away")
        self.sent.append((webhook_id, body))


@pytest.fixture(autouse=True)
def second_door(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> QueueDoor:
    door = QueueDoor()
    if "real_queue_door" not in request.keywords:
        monkeypatch.setattr(queue_door, "send", door.send)
    return door


@pytest.fixture
def answers(producer: responses.RequestsMock) -> Callable[..., None]:
    """`answers(503, 503, 202)`: what the Producer answers to results, in this order; the last one repeats."""

    def register(*statuses: int, **options: Any) -> None:
        for status in statuses:
            producer.add(responses.POST, settings.RESULT_URL, json={"status": "x"}, status=status, **options)

    return register
