"""Schemas of the messages between Producer and Consumer: the event, and the three results."""

from producer.openapi_examples import EVENT_ID, MOMENT, PENDING, TXN_ID
from producer.openapi_fields import UUID_PATTERN, Schema, moment, ref
from webhooks.results import MAX_VERSION

EVENT_TYPES = ["transaction.created", "transaction.updated", "transaction.canceled"]


def event() -> Schema:
    """The CloudEvent that the Consumer gets, the same bytes on every channel."""
    return {
        "type": "object",
        "description": "A CloudEvents 1.0 event in structured JSON. Ignore members that you do not know.",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "format": "uuid", "description": "Drop a copy with an id that you have seen."},
            "source": {"type": "string", "format": "uri-reference", "minLength": 1},
            "type": {"type": "string", "enum": EVENT_TYPES},
            "subject": {"type": "string", "format": "uuid", "description": "The transaction's id."},
            "time": moment("When the change was made."),
            "datacontenttype": {"const": "application/json"},
            "sequence": {
                "type": "string",
                "pattern": "^[0-9]{20}$",
                "description": "The transaction's version: drop what is older than what you have seen.",
            },
            "partitionkey": {"type": "string", "format": "uuid"},
            "traceparent": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
            "correlationid": {
                "type": "string",
                "format": "uuid",
                "description": "The X-Request-ID of the request that made the change. For your logs; return it in the result.",
            },
            "data": {
                "type": "object",
                "properties": {"transaction": ref("Transaction")},
                "required": ["transaction"],
            },
        },
        "required": [
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "datacontenttype",
            "sequence",
            "partitionkey",
            "data",
        ],
        "examples": [
            {
                "specversion": "1.0",
                "id": EVENT_ID,
                "source": "urn:producer",
                "type": "transaction.created",
                "subject": TXN_ID,
                "time": "2026-11-22T10:15:00.123000Z",
                "datacontenttype": "application/json",
                "sequence": "00000000000000000001",
                "partitionkey": TXN_ID,
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "data": {"transaction": PENDING},
            }
        ],
    }


def _result(type_: str, description: str, required: list[str], example: Schema) -> Schema:
    data: dict[str, Schema] = {
        "transaction_id": {
            "type": "string",
            "format": "uuid",
            "pattern": UUID_PATTERN.replace("a-f", "a-fA-F"),
            "examples": [TXN_ID],
        },
        "transaction_version": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_VERSION,
            "description": "The version that you processed: `data.transaction.version` of the event.",
        },
        "processed_data": {
            "type": "object" if "processed_data" in required else ["object", "null"],
            "description": "At most 16 KiB.",
        },
        "error": ref("ResultError") if "error" in required else {"oneOf": [{"type": "null"}, ref("ResultError")]},
    }
    return {
        "type": "object",
        "description": description,
        "properties": {
            "type": {"const": type_},
            "timestamp": {"type": "string", "format": "date-time", "maxLength": 64},
            "data": {
                "type": "object",
                "properties": data,
                "required": ["transaction_id", "transaction_version", *required],
            },
        },
        "required": ["type", "timestamp", "data"],
        "examples": [{"type": type_, "timestamp": MOMENT, "data": example}],
    }


def results() -> dict[str, Schema]:
    """What the Consumer sends, one schema for each type; members that we do not know are kept and ignored."""
    named = {"transaction_id": TXN_ID, "transaction_version": 1}
    return {
        "ProcessingResult": _result("transaction.processing", "The Consumer has begun.", [], named),
        "SucceededResult": _result(
            "transaction.succeeded", "It worked.", ["processed_data"],
            named | {"processed_data": {"reference": "BK-2026-0042"}},
        ),
        "FailedResult": _result(
            "transaction.failed", "It did not work, and will not.", ["error"],
            named | {"error": {"code": "account_closed", "message": "The account is closed."}},
        ),
        "ResultError": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "required": ["code", "message"],
            "description": "Why the Consumer could not do it: a word for programs, a sentence for people.",
        },
    }  # fmt: skip
