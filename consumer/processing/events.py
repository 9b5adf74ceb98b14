"""Turns whatever arrived into a checked Event, or says in one sentence why it is none. Pure."""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

CREATED, UPDATED, CANCELED = "transaction.created", "transaction.updated", "transaction.canceled"
TYPES = frozenset({CREATED, UPDATED, CANCELED})

# No full stop: the event id is the webhook-id of the fallback door.
_ID = re.compile(r"[A-Za-z0-9_:~+=@/-]{1,255}")
_SEQUENCE = re.compile(r"[0-9]{1,20}")
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_CORRELATION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# What fits the database's 64-bit column.
_MAX_SEQUENCE = 2**63 - 1


class BadEventError(Exception):
    """Not an event of the contract. The message names the member and never holds its value."""


@dataclass(frozen=True)
class Txn:
    """The part of a bank transaction that the rules look at."""

    account_number: str
    amount: str
    currency: str
    direction: str
    transaction_date: str
    description: str

    @property
    def value(self) -> Decimal:
        return Decimal(self.amount)


@dataclass(frozen=True)
class ParsedEvent:
    """A checked event. `txn` is None for a cancellation: nothing is decided about it."""

    id: str
    type: str
    transaction_id: str
    sequence: int
    txn: Txn | None
    # For logs and traces only; empty when the Producer sent none that is well formed.
    request_id: str = ""
    traceparent: str = ""


def decode(raw: bytes) -> Any:
    """JSON as the standard says: UTF-8, no NaN. Raises BadEventError for all else, depth bombs included."""
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadEventError("the body is not JSON") from error


def parse(event: Any) -> ParsedEvent:
    """Raises BadEventError for whatever is not an event of the contract; unknown members are ignored."""
    if not isinstance(event, dict):
        raise BadEventError("the event is not an object")
    if event.get("specversion") != "1.0":
        raise BadEventError("specversion is not 1.0")
    event_id = _matching(event, "id", _ID)
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise BadEventError("type is unknown")
    data = event.get("data")
    transaction = data.get("transaction") if isinstance(data, dict) else None
    if not isinstance(transaction, dict):
        raise BadEventError("data.transaction is not an object")
    transaction_id = _uuid(transaction.get("id"), "data.transaction.id")
    if _uuid(event.get("subject"), "subject") != transaction_id:
        raise BadEventError("subject is not the id of data.transaction")
    sequence = int(_matching(event, "sequence", _SEQUENCE))
    version = transaction.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version != sequence:
        raise BadEventError("sequence is not the version of data.transaction")
    if not 1 <= sequence <= _MAX_SEQUENCE:
        raise BadEventError("sequence is out of range")
    return ParsedEvent(
        event_id,
        kind,
        transaction_id,
        sequence,
        None if kind == CANCELED else _txn(transaction),
        _or_empty(event, "correlationid", _CORRELATION),
        _or_empty(event, "traceparent", _TRACEPARENT),
    )


def _txn(transaction: dict[str, Any]) -> Txn:
    account = transaction.get("account_number")
    if not isinstance(account, str) or not 1 <= len(account) <= 64:
        raise BadEventError("account_number is not a string of 1 to 64 characters")
    amount = _matching(transaction, "amount", _AMOUNT)
    if Decimal(amount) == 0:
        raise BadEventError("amount is zero")
    direction = transaction.get("direction")
    if direction not in ("debit", "credit"):
        raise BadEventError("direction is neither debit nor credit")
    texts = {name: transaction.get(name) or "" for name in ("transaction_date", "description")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise BadEventError(f"{name} is not a string")
    return Txn(
        account_number=account,
        amount=amount,
        currency=_matching(transaction, "currency", _CURRENCY),
        direction=direction,
        transaction_date=texts["transaction_date"],
        description=texts["description"],
    )


def _matching(source: dict[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = source.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadEventError(f"{name} is missing or malformed")
    return value


def _or_empty(source: dict[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = source.get(name)
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""


def _uuid(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) != 36:
        raise BadEventError(f"{name} is not a UUID")
    try:
        return str(UUID(value))
    except ValueError as error:
        raise BadEventError(f"{name} is not a UUID") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
