"""Request and response shapes: reads a strict JSON object into exact values, and writes a transaction as JSON.

Plain functions in a table instead of DRF serializers: a field is refused, never coerced; a batch of 1,000 is cheap.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from transactions.models import Transaction
from transactions.moments import FieldValueError, moment, read_moment
from transactions.money import (
    AmountError,
    CurrencyError,
    digits_of,
    fits,
    format_amount,
    parse_amount,
    stored_digits_of,
)
from transactions.parsing import is_longer, pointer
from transactions.problems import FieldError, ProblemError

REQUIRED = ("account_number", "amount", "currency", "direction")
READ_ONLY = frozenset(
    {"id", "status", "version", "processed_data", "error", "overdue", "created_at", "updated_at", "processed_at"}
)
MAX_EXTERNAL_ID = 64
MAX_METADATA_KEYS = 50
MAX_METADATA_BYTES = 8 * 1024
# More errors than this help nobody and would make the answer larger than the request.
MAX_ERRORS = 100

ACCOUNT_NUMBER = re.compile(r"[A-Za-z0-9./:-](?:[A-Za-z0-9 ./:-]{0,32}[A-Za-z0-9./:-])?")


def _account_number(value: Any) -> str:
    if not isinstance(value, str) or not ACCOUNT_NUMBER.fullmatch(value):
        raise FieldValueError("Must be 1 to 34 characters of A-Z a-z 0-9 space . / : - with no space at the ends.")
    return value


def _currency(value: Any) -> str:
    digits_of(value)
    return str(value)


def _direction(value: Any) -> str:
    if value not in ("debit", "credit") or not isinstance(value, str):
        raise FieldValueError("Must be debit or credit.")
    return value


def _external_id(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_EXTERNAL_ID:
        raise FieldValueError(f"Must be a string of 1 to {MAX_EXTERNAL_ID} characters.")
    return value


def _description(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 255:
        raise FieldValueError("Must be a string of at most 255 characters.")
    return value


def _metadata(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FieldValueError("Must be an object.")
    if len(value) > MAX_METADATA_KEYS:
        raise FieldValueError(f"May have {MAX_METADATA_KEYS} keys at most.")
    if value and not _is_short(value) and is_longer(value, MAX_METADATA_BYTES):
        raise FieldValueError("May have 8 KiB at most, as compact JSON in UTF-8.")
    return value


def _is_short(metadata: dict[str, Any]) -> bool:
    """Whether it cannot be too long: names, texts, no character of which takes more than six bytes (`\\u0001`), and numbers."""
    characters = 0
    for name, value in metadata.items():
        kind = type(value)
        if kind is str:
            characters += len(value)
        elif kind is int:
            characters += value.bit_length() // 16 + 1
        elif kind is float:
            # 25 bytes at most.
            characters += 5
        else:
            return False
        characters += len(name) + 1
    return 6 * characters < MAX_METADATA_BYTES


# In the order in which errors are told. `amount` is read last, since its digits depend on the currency.
_READERS: dict[str, Callable[[Any], Any]] = {
    "account_number": _account_number,
    "currency": _currency,
    "direction": _direction,
    "transaction_date": read_moment,
    "external_id": _external_id,
    "description": _description,
    "metadata": _metadata,
}
DEFAULTS: Mapping[str, Callable[[], Any]] = {"external_id": lambda: None, "description": str, "metadata": dict}


def read_new(body: Mapping[str, Any], *where: str | int) -> tuple[dict[str, Any], list[FieldError]]:
    """The values of a new transaction (POST, PUT), and what is wrong with them.

    Left out and null mean the default; `transaction_date` is then absent from the result: the caller knows its default.
    """
    values, errors = _read(body, where)
    for name in REQUIRED:
        if body.get(name) is None:
            errors.append(_error("This field is required.", *where, name))
    for name, default in DEFAULTS.items():
        if name not in values:
            values[name] = default()
    return values, errors


def read_patch(body: Mapping[str, Any], current: Transaction) -> tuple[dict[str, Any], list[FieldError]]:
    """The changed values of a PATCH; null means the default. The amount must fit the currency that results.

    A currency that is not sent is not judged: it may have left the list of active ones since it was.
    """
    values, errors = _read(body, (), None if "currency" in body else current.currency)
    for name in REQUIRED:
        if name in body and body[name] is None:
            errors.append(_error("This field is required.", name))
    for name, default in DEFAULTS.items():
        if name in body and body[name] is None:
            values[name] = default()
    if "currency" in values and "amount" not in body and not fits(current.amount, digits_of(values["currency"])):
        errors.append(_error("The present amount has more digits than this currency; send both.", "currency"))
    return values, errors


def _read(
    body: Mapping[str, Any], where: tuple[str | int, ...], stored_currency: str | None = None
) -> tuple[dict[str, Any], list[FieldError]]:
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, value in body.items():
        reader = _READERS.get(name)
        if reader is None:
            if name != "amount":
                errors.append(
                    _error("Read-only: leave it out." if name in READ_ONLY else "Unknown field.", *where, name)
                )
        elif value is not None:
            try:
                values[name] = reader(value)
            except (FieldValueError, CurrencyError) as error:
                errors.append(_error(str(error), *where, name))
    if body.get("amount") is not None:
        try:
            if stored_currency is None:
                values["amount"] = parse_amount(body["amount"], values.get("currency", "CLF"))
            else:
                values["amount"] = parse_amount(body["amount"], stored_currency, stored_digits_of(stored_currency))
        except AmountError as error:
            errors.append(_error(error.detail, *where, "amount"))
    return values, errors


def refuse(errors: list[FieldError], bad_text: list[str]) -> None:
    """Raises ProblemError 422 if there is anything to tell."""
    told = {error["pointer"] for error in errors}
    errors = errors + [
        FieldError(detail="Control characters and lone surrogates are not allowed.", pointer=place)
        for place in bad_text
        if place not in told
    ]
    if errors:
        raise ProblemError("validation-error", errors=errors[:MAX_ERRORS])


def _error(detail: str, *where: str | int) -> FieldError:
    return FieldError(detail=detail, pointer=pointer(*where))


class Representable(Protocol):
    """A row, or what is about to become one."""

    id: Any
    external_id: Any
    account_number: Any
    amount: Any
    currency: Any
    direction: Any
    transaction_date: Any
    description: Any
    metadata: Any
    created_at: Any
    updated_at: Any

    @property
    def status(self) -> Any: ...
    @property
    def version(self) -> Any: ...
    @property
    def processed_data(self) -> Any: ...
    @property
    def error(self) -> Any: ...
    @property
    def overdue(self) -> Any: ...
    @property
    def processed_at(self) -> Any: ...


def represent(txn: Representable) -> dict[str, Any]:
    """A transaction as the API and the events show it (contract section 2)."""
    return {
        "id": str(txn.id),
        "external_id": txn.external_id,
        "account_number": txn.account_number,
        "amount": format_amount(txn.amount, txn.currency),
        "currency": txn.currency,
        "direction": txn.direction,
        "transaction_date": moment(txn.transaction_date),
        "description": txn.description,
        "metadata": txn.metadata,
        "status": str(txn.status),
        "version": txn.version,
        "processed_data": txn.processed_data,
        "error": txn.error,
        "overdue": txn.overdue,
        "created_at": moment(txn.created_at),
        "updated_at": moment(txn.updated_at),
        "processed_at": moment(txn.processed_at),
    }


# A tag counts whole microseconds. A float of seconds cannot tell two neighbours apart from 2038 on.
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def etag(txn: Representable) -> str:
    """A strong validator (RFC 9110 section 8.8.3): the version, and the microsecond of the last change of any kind."""
    return f'"{txn.version}-{(txn.updated_at - _EPOCH) // _MICROSECOND:x}"'


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def dumps(value: Any) -> str:
    """JSON as we send it."""
    return _ENCODER.encode(value)
