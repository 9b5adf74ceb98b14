"""Component schemas of the HTTP API: requests, transactions, lists, history, receipts, health."""

from producer.openapi_examples import EVENT_ID, FAILED, MOMENT, NEW, PENDING, SUCCEEDED
from producer.openapi_fields import (
    CURRENCY_PATTERN,
    NO_CONTROLS,
    UUID_PATTERN,
    Schema,
    amounts_by_currency,
    fields,
    length_of,
    moment,
    nullable,
    ref,
)
from producer.openapi_messages import EVENT_TYPES, event, results
from transactions.models import HistoryEntry, Transaction
from transactions.pagination import MAX_LIMIT
from transactions.serializers import REQUIRED
from transactions.states import RESULT_STATUS, Status
from transactions.views import MAX_BATCH
from webhooks.models import InboxMessage

# outbox.models.OutboxMessage.State, which only outbox may import; a test compares.
EVENT_STATES = ["pending", "published", "dead"]
CHANNELS = ["broker", "webhook"]
DOORS = ["webhook", "queue"]


def _request(description: str, required: tuple[str, ...], example: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": fields(),
        "required": list(required),
        "additionalProperties": False,
        "allOf": amounts_by_currency(),
        "examples": [example],
    }


def transaction() -> Schema:
    """A transaction as the API and the events show it; every member is always there."""
    given = fields()
    given["amount"]["description"] = "With exactly as many digits after the point as the currency has."
    # No list: a code that leaves ISO 4217 stays in what was submitted before.
    given["currency"] = {
        "type": "string",
        "pattern": CURRENCY_PATTERN,
        "description": "An ISO 4217 code; active when it was submitted.",
        "examples": ["EUR"],
    }
    properties: dict[str, Schema] = {
        "id": {
            "type": "string",
            "format": "uuid",
            "pattern": UUID_PATTERN,
            "description": "A UUIDv7: sorts by creation.",
        },
        "external_id": given["external_id"],
        "account_number": given["account_number"],
        "amount": given["amount"],
        "currency": given["currency"],
        "direction": given["direction"],
        "transaction_date": moment("In UTC."),
        "description": {"type": "string", "maxLength": length_of(Transaction, "description")},
        "metadata": {"type": "object"},
        "status": ref("Status"),
        "version": {"type": "integer", "minimum": 1, "description": "Grows by 1 with each create, update and cancel."},
        "processed_data": {"type": ["object", "null"], "description": "What the Consumer made of it."},
        "error": {
            "oneOf": [{"type": "null"}, ref("ResultError")],
            "description": "Why it failed; null unless `status` is `failed`.",
        },
        "overdue": {"type": "boolean", "description": "No result by the deadline; a late one still applies."},
        "created_at": moment("When it was submitted."),
        "updated_at": moment("The last change of any kind."),
        "processed_at": nullable(moment("When its outcome was applied; null before.")),
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "allOf": amounts_by_currency(),
        "examples": [PENDING, SUCCEEDED, FAILED],
    }


def _entry(kind: str, example: Schema, **properties: Schema) -> Schema:
    members = {"kind": {"const": kind}, "at": moment("When it happened."), **properties}
    return {"type": "object", "properties": members, "required": list(members), "examples": [example]}


def history_entries() -> dict[str, Schema]:
    """The three kinds of entries of a history."""
    states = [state for state in InboxMessage.State.values if state in {"applied", "noop", "conflict", "superseded"}]
    return {
        "ChangeEntry": _entry(
            HistoryEntry.Kind.CHANGE.value,
            {"kind": "change", "at": MOMENT, "version": 1, "status": "pending", "by": "client"},
            version={"type": "integer", "minimum": 1},
            status=ref("Status"),
            by={"type": "string", "enum": ["client", "consumer", "operator"]},
        ),
        "EventEntry": _entry(
            "event",
            {
                "kind": "event",
                "at": MOMENT,
                "event_id": EVENT_ID,
                "type": "transaction.created",
                "state": "published",
                "channel": "broker",
                "delivered_at": "2026-11-22T10:15:00.250000Z",
                "attempts": 1,
            },
            event_id={"type": "string", "format": "uuid", "description": "One id on every channel."},
            type={"type": "string", "enum": EVENT_TYPES},
            state={"type": "string", "enum": EVENT_STATES},
            channel={"type": ["string", "null"], "enum": [*CHANNELS, None]},
            delivered_at=nullable(moment("When the channel confirmed it.")),
            attempts={"type": "integer", "minimum": 0},
        ),
        "ResultEntry": _entry(
            HistoryEntry.Kind.RESULT.value,
            {
                "kind": "result",
                "at": "2026-11-22T10:15:01.456000Z",
                "webhook_id": "res_01k5",
                "type": "transaction.succeeded",
                "state": "applied",
                "door": "webhook",
            },
            webhook_id={"type": "string"},
            type={"type": "string", "enum": list(RESULT_STATUS)},
            state={"type": "string", "enum": states},
            door={"type": "string", "enum": DOORS},
        ),
    }


def schemas() -> dict[str, Schema]:
    """Every component schema but the problems."""
    page_items = {"type": "array", "items": ref("Transaction")}
    return {
        "NewTransaction": _request("A transaction to create, or to put in place of one.", REQUIRED, NEW),
        "TransactionPatch": _request(
            "What to change; null means the default. The amount must fit the currency that results.",
            (),
            {"description": "Invoice 881, corrected"},
        ),
        "NewBatch": {
            "type": "object",
            "properties": {
                "transactions": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_BATCH,
                    "items": ref("NewTransaction"),
                    "description": "Created all or none. No two may have the same `external_id`.",
                }
            },
            "required": ["transactions"],
            "additionalProperties": False,
            "examples": [{"transactions": [NEW, NEW | {"external_id": "inv-882", "amount": "80.00"}]}],
        },
        "Transaction": transaction(),
        "Status": {
            "type": "string",
            "enum": [status.value for status in Status],
            "description": "`succeeded`, `failed` and `canceled` never change.",
        },
        "TransactionList": {
            "type": "object",
            "properties": {
                "data": page_items | {"maxItems": MAX_LIMIT},
                "next_cursor": {"type": ["string", "null"], "description": "For the next page; null on the last."},
                "has_more": {"type": "boolean"},
            },
            "required": ["data", "next_cursor", "has_more"],
            "examples": [{"data": [SUCCEEDED], "next_cursor": None, "has_more": False}],
        },
        "CreatedBatch": {
            "type": "object",
            "properties": {"data": page_items | {"minItems": 1, "maxItems": MAX_BATCH}},
            "required": ["data"],
            "examples": [{"data": [PENDING]}],
        },
        "History": {
            "type": "object",
            "properties": {
                "data": {
                    "type": "array",
                    "items": {"oneOf": [ref("ChangeEntry"), ref("EventEntry"), ref("ResultEntry")]},
                }
            },
            "required": ["data"],
            "examples": [{"data": [schema["examples"][0] for schema in history_entries().values()]}],
        },
        **history_entries(),
        "JsonValue": {
            "description": "Any JSON value without control characters in its strings and names.",
            "anyOf": [
                {"type": ["null", "boolean", "number"]},
                {"type": "string", "pattern": NO_CONTROLS},
                {"type": "array", "items": ref("JsonValue")},
                {
                    "type": "object",
                    "propertyNames": {"pattern": NO_CONTROLS},
                    "additionalProperties": ref("JsonValue"),
                },
            ],
        },
        "Event": event(),
        **results(),
        "Result": {"oneOf": [ref("ProcessingResult"), ref("SucceededResult"), ref("FailedResult")]},
        "Accepted": {
            "type": "object",
            "properties": {
                "status": {"const": "accepted"},
                "receipt": {"type": "string", "format": "uri", "description": "Where to ask what became of it."},
            },
            "required": ["status", "receipt"],
        },
        "Quarantined": {
            "type": "object",
            "description": "Signed well, but no result by the contract: kept, and an operator looks at it.",
            "properties": {
                "status": {"const": "quarantined"},
                "problem": {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]},
            },
            "required": ["status", "problem"],
        },
        "InboxState": {"type": "string", "enum": list(InboxMessage.State.values)},
        "Duplicate": {
            "type": "object",
            "properties": {"status": ref("InboxState")},
            "required": ["status"],
        },
        "Receipt": {
            "type": "object",
            "properties": {
                "webhook_id": {"type": "string", "maxLength": length_of(InboxMessage, "webhook_id")},
                "status": ref("InboxState"),
                "reason": {"type": ["string", "null"]},
                "deliveries": {"type": "integer", "minimum": 1},
                "received_at": moment("When it came first."),
                "applied_at": nullable(moment("When it changed the transaction; null if it did not.")),
            },
            "required": ["webhook_id", "status", "reason", "deliveries", "received_at", "applied_at"],
            "examples": [
                {
                    "webhook_id": "res_01k5",
                    "status": "applied",
                    "reason": None,
                    "deliveries": 1,
                    "received_at": "2026-11-22T10:15:01.400000Z",
                    "applied_at": "2026-11-22T10:15:01.456000Z",
                }
            ],
        },
        "Liveness": {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]},
        "Readiness": {
            "type": "object",
            "properties": {
                "status": {"type": "string", "enum": ["ok", "unavailable"]},
                "checks": {
                    "type": "object",
                    "additionalProperties": {"type": "string", "pattern": "^(ok|failed: |unknown: )"},
                    "description": "Each check: `ok`, `failed: ` and why, or `unknown: ` where another failure is in the way.",
                },
                "warnings": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "What else is wrong, by light of the dashboard; turns nothing red.",
                },
            },
            "required": ["status", "checks"],
            "examples": [{"status": "ok", "checks": {"database": "ok", "oldest_waiting_event": "ok (0 waiting)"}}],
        },
    }
