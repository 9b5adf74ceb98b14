"""The shape of a result (contract section 4): raw bytes -> Result, or why not; pure."""

from typing import Any
from uuid import UUID

from transactions.moments import FieldValueError, read_moment
from transactions.parsing import MalformedJsonError, is_longer, parse_object
from transactions.services import Result

TYPES = ("transaction.processing", "transaction.succeeded", "transaction.failed")
MAX_PROCESSED_DATA_BYTES = 16 * 1024
MAX_ERROR_CHARACTERS = 4096
# PostgreSQL's integer; a version above it was never reached, but must not become a database error.
MAX_VERSION = 2**31 - 1


class ResultFormatError(ValueError):
    """The bytes are no result by the contract: they are quarantined. The text repeats none of the input."""


def read_result(body: bytes, *, webhook_id: str, door: str) -> Result:
    """The result in `body`; unknown members are ignored. Raises ResultFormatError."""
    try:
        message = parse_object(body)
    except MalformedJsonError as error:
        raise ResultFormatError(f"Malformed JSON: {error.detail}") from None
    if message.get("type") not in TYPES:
        raise ResultFormatError(f"type: must be one of {', '.join(TYPES)}.")
    try:
        read_moment(message.get("timestamp"))
    except FieldValueError as error:
        raise ResultFormatError(f"timestamp: {error}") from None
    data = message.get("data")
    if not isinstance(data, dict):
        raise ResultFormatError("data: must be an object.")
    result_type = str(message["type"])
    return Result(
        webhook_id=webhook_id,
        type=result_type,
        transaction_id=_transaction_id(data),
        transaction_version=_version(data),
        processed_data=_processed_data(data, required=result_type == "transaction.succeeded"),
        error=_error(data, required=result_type == "transaction.failed"),
        door=door,
    )


def _transaction_id(data: dict[str, Any]) -> UUID:
    value = data.get("transaction_id")
    try:
        parsed = UUID(value) if isinstance(value, str) else None
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != str(value).lower():
        raise ResultFormatError("data.transaction_id: must be a UUID.")
    return parsed


def _version(data: dict[str, Any]) -> int:
    value = data.get("transaction_version")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_VERSION:
        raise ResultFormatError("data.transaction_version: must be an integer of at least 1.")
    return value


def _processed_data(data: dict[str, Any], *, required: bool) -> dict[str, Any] | None:
    value = data.get("processed_data")
    if value is None and not required:
        return None
    if not isinstance(value, dict):
        raise ResultFormatError("data.processed_data: must be an object.")
    if is_longer(value, MAX_PROCESSED_DATA_BYTES):
        raise ResultFormatError("data.processed_data: may have 16 KiB at most.")
    _refuse_unstorable(value, "data.processed_data")
    return value


def _error(data: dict[str, Any], *, required: bool) -> dict[str, Any] | None:
    value = data.get("error")
    if value is None and not required:
        return None
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in ("code", "message")):
        raise ResultFormatError("data.error: must be an object with the strings code and message.")
    if is_longer(value, MAX_ERROR_CHARACTERS):
        raise ResultFormatError("data.error: is too long.")
    _refuse_unstorable(value, "data.error")
    return value


def _refuse_unstorable(value: Any, where: str) -> None:
    """U+0000 and lone surrogates are what the database cannot hold; other characters are the Consumer's business."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str) and ("\x00" in item or any("\ud800" <= letter <= "\udfff" for letter in item)):
            raise ResultFormatError(f"{where}: has U+0000 or a lone surrogate.")
