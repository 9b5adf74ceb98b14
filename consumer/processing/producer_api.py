"""Calls the Producer's HTTP API for the web pages; the API key stays on the server."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import requests
from django.conf import settings

# Seconds to connect, to read. The pages poll: a slow Producer must not tie up our few server threads.
TIMEOUT_SECONDS = (2.0, 5.0)


class ProducerAwayError(Exception):
    """No usable answer came; the message is for the page."""


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any


def submit(transaction: dict[str, Any], idempotency_key: str) -> Reply:
    return _call("POST", "", json=transaction, headers={"Idempotency-Key": idempotency_key})


def latest(limit: int) -> Reply:
    return _call("GET", "", params={"limit": limit})


def one(transaction_id: UUID) -> Reply:
    return _call("GET", f"/{transaction_id}")


def history(transaction_id: UUID) -> Reply:
    return _call("GET", f"/{transaction_id}/events")


def _call(method: str, path: str, **options: Any) -> Reply:
    headers = {
        "Authorization": f"Bearer {settings.PRODUCER_API_KEY}",
        "Accept": "application/json",
        **options.pop("headers", {}),
    }
    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.request(
                method,
                f"{settings.PRODUCER_URL}/api/v1/transactions{path}",
                headers=headers,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
                **options,
            )
            body = response.json()
        except requests.JSONDecodeError as error:
            raise ProducerAwayError(f"What answers at {settings.PRODUCER_URL} is not the Producer.") from error
        except requests.RequestException as error:
            raise ProducerAwayError(f"The Producer does not answer at {settings.PRODUCER_URL}.") from error
    return Reply(response.status_code, body)
