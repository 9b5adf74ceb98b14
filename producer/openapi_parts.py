"""Parameters, headers and security schemes of the OpenAPI document."""

from typing import Any

from producer.openapi_examples import ETAG, EVENT_ID, MOMENT, TXN_ID
from producer.openapi_fields import ETAG_PATTERN, KEY_PATTERN, UUID_PATTERN, Schema, fields, length_of, ref, text
from transactions.models import IdempotencyKey, Transaction
from transactions.pagination import DEFAULT_LIMIT, FILTERS, MAX_LIMIT
from webhooks.models import InboxMessage

# 1 to 255 printable ASCII characters without space and dot: a dot would let id and timestamp trade characters.
WEBHOOK_ID_PATTERN = "^[!-\\-/-~]+$"
WEBHOOK_ID = {
    "type": "string",
    "minLength": 1,
    "maxLength": length_of(InboxMessage, "webhook_id"),
    "pattern": WEBHOOK_ID_PATTERN,
}
_MOMENT: Schema = {"type": "string", "format": "date-time", "maxLength": 64}
_KEY: Schema = {"type": "string", "minLength": 1, "maxLength": 512, "pattern": KEY_PATTERN}

# Times and ids are taken before the commit.
_OVERLAP = (
    "A poller asks from 15 seconds or more before the newest that it has seen: later commits may have earlier times."
)

# A filter without an entry here is a KeyError when the document is made: nothing can be left out.
_FILTERS: dict[str, tuple[Schema, str]] = {
    "status": (ref("Status"), "Where it stands."),
    "account_number": (
        {name: rule for name, rule in fields()["account_number"].items() if name not in ("description", "examples")},
        "Exactly this account.",
    ),
    "external_id": (text(length_of(Transaction, "external_id"), least=1), "Your own id."),
    "idempotency_key": (_KEY, "What the request with this key wrote; as it was sent, bare or quoted."),
    "currency": (
        {"type": "string", "enum": fields()["currency"]["enum"]},
        "An active ISO 4217 code; or one that has left the list, where a transaction of yours still has it.",
    ),
    "created_gte": (_MOMENT, f"Created at this time or later. {_OVERLAP}"),
    "created_lt": (_MOMENT, "Created before this time."),
    "updated_gte": (_MOMENT, f"Changed in any way at this time or later. {_OVERLAP}"),
}
_FILTER_EXAMPLES = {
    "status": "pending",
    "account_number": "DE89370400440532013000",
    "external_id": "inv-881",
    "idempotency_key": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    "currency": "EUR",
}


def parameter(name: str) -> dict[str, str]:
    """A reference to a component parameter."""
    return {"$ref": f"#/components/parameters/{name}"}


def header(name: str) -> dict[str, str]:
    """A reference to a component header."""
    return {"$ref": f"#/components/headers/{name}"}


def list_parameters() -> list[dict[str, Any]]:
    """What the list takes: every filter, then limit and cursor."""
    return [parameter(name) for name in (*FILTERS, "limit", "cursor")]


def parameters() -> dict[str, Any]:
    """Component parameters."""
    found = {}
    for name in FILTERS:
        schema, description = _FILTERS[name]
        if schema == {"type": "string"}:
            schema = text(65_535) | {"pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"}
            del schema["minLength"], schema["maxLength"]
        found[name] = {
            "name": name,
            "in": "query",
            "required": False,
            "description": description,
            "schema": schema,
            "example": _FILTER_EXAMPLES.get(name, MOMENT),
        }
    return found | {
        "limit": {
            "name": "limit",
            "in": "query",
            "required": False,
            "description": "How many on a page.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        },
        "cursor": {
            "name": "cursor",
            "in": "query",
            "required": False,
            "description": "`next_cursor` of the page before, with the same filters. Opaque: any other value is a 400.",
            "schema": {"type": "string"},
        },
        "id": {
            "name": "id",
            "in": "path",
            "required": True,
            "description": "The transaction's id.",
            "schema": {"type": "string", "format": "uuid", "pattern": UUID_PATTERN},
            "example": TXN_ID,
        },
        "Idempotency-Key": _key(
            required=True, description="New for each new request, the same for its repeats: a UUID."
        ),
        "Idempotency-Key-Optional": _key(required=False, description="Makes repeats safe: they get the first answer."),
        "If-Match": _tag(
            "If-Match", required=True, description="The ETag of what you read, or `*`: changes only that version."
        ),
        "If-Match-Optional": _tag(
            "If-Match", required=False, description="The ETag of what you read: cancels only that version."
        ),
        # Its example fits what is there: the documentation page sends what it shows.
        "If-Match-Read": _tag(
            "If-Match", required=False, description="The ETag of what you want, or `*`: 412 if it is another by now."
        )
        | {"example": "*"},
        "If-None-Match": _tag("If-None-Match", required=False, description="The ETag you have: 304 if it still holds."),
        "traceparent": {
            "name": "traceparent",
            "in": "header",
            "required": False,
            "description": "W3C trace context: goes into the event. An unreadable one is left out.",
            "schema": {"type": "string"},
            "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        },
        "webhook-id": {
            "name": "webhook-id",
            "in": "header",
            "required": True,
            "description": "One for each message, the same on each attempt.",
            "schema": WEBHOOK_ID,
            "example": EVENT_ID,
        },
        "webhook-timestamp": {
            "name": "webhook-timestamp",
            "in": "header",
            "required": True,
            "description": "Unix seconds of this attempt, at most 300 away from our clock.",
            "schema": {"type": "string", "pattern": "^[0-9]{1,12}$"},
            "example": "1795342500",
        },
        "webhook_id": {
            "name": "webhook_id",
            "in": "path",
            "required": True,
            "description": "The `webhook-id` of the delivery; the signed header must name the same.",
            "schema": WEBHOOK_ID,
            "example": "res_01k5",
        },
    }


def _key(*, required: bool, description: str) -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": required,
        "description": f"{description} 1 to {length_of(IdempotencyKey, 'key')} printable ASCII characters, bare or quoted "
        "(the same key). One scope for all of a client's keys and paths; kept 30 days, and never used twice after.",
        "schema": _KEY,
        "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    }


def _tag(name: str, *, required: bool, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": {"type": "string"},
        "example": ETAG,
    }


def headers() -> dict[str, Any]:
    """Component headers of answers."""
    retry = {
        "description": "Seconds after which to come back.",
        "schema": {"type": "string", "pattern": "^[1-9][0-9]*$"},
        "example": "1",
    }
    tag = {
        "description": "Strong; changes with every change of the transaction, results included. Send it as If-Match.",
        "schema": {"type": "string", "pattern": ETAG_PATTERN},
        "example": ETAG,
    }
    always: dict[str, Any] = {
        "X-Request-ID": {
            "description": "The id of this request, in our logs too.",
            "schema": {"type": "string", "format": "uuid"},
        },
        "ETag": tag,
        "Location": {
            "description": "Where the new transaction is, relative to this server.",
            "schema": {"type": "string", "format": "uri-reference"},
            "example": f"/api/v1/transactions/{TXN_ID}",
        },
        "Idempotent-Replayed": {
            "description": "`true` when this is the stored answer of an earlier request with the same key.",
            "schema": {"type": "string", "enum": ["true", "false"]},
        },
        "Link": {
            "description": "The next page (RFC 8288); there is none on the last page.",
            "schema": {"type": "string", "pattern": '^<[^>]+>; rel="next"$'},
        },
        "Retry-After": retry,
        "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}, "example": "Bearer"},
        "Allow": {"description": "The methods of this path.", "schema": {"type": "string"}, "example": "GET, POST"},
    }
    # A reference cannot say "required" for itself, so each header that is not always there has a name of its own.
    optional = {f"{name}-Sometimes": value for name, value in always.items() if name != "X-Request-ID"}
    required = {name: value | {"required": True} for name, value in always.items()}
    return required | optional


def security_schemes() -> dict[str, Any]:
    """Who may call: clients by key, the Consumer by signature."""
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`manage.py create_api_client NAME` prints one). A client has several for rotation.",
        },
        "signature": {
            "type": "apiKey",
            "in": "header",
            "name": "webhook-signature",
            "description": "Standard Webhooks 1.0.0: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body` (the raw "
            "bytes), or `v1a,` and an ed25519 signature; several separated by spaces.",
        },
    }
