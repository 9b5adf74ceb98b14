"""The OpenAPI 3.1 document, made of the tables that the server itself reads, so that it cannot say something else."""

from typing import Any

from producer import openapi_parts, openapi_paths, openapi_problems, openapi_schemas
from producer.openapi_fields import ref
from producer.openapi_messages import EVENT_TYPES
from transactions.problems import CATALOGUE, type_uri

API_VERSION = "1.0.0"

_INTRODUCTION = """Submit bank transactions and read what became of them.

**Try it here**: *Authorize* with an API key, *Submit a transaction*, *Read* it by the id you got, then provoke an error:
send the same `Idempotency-Key` with another amount.

- JSON only, UTC times (RFC 3339 with `Z`), no trailing slashes. Unknown and read-only fields are refused, never ignored.
- Amounts are strings, exact, with the digits of their currency.
- A POST needs an `Idempotency-Key`: repeats get the first answer and `Idempotent-Replayed: true`.
- PUT and PATCH need the `ETag` you read as `If-Match`.
- Errors are RFC 9457 problem documents with one of these types:

"""
_WEBHOOK_ANSWERS = {
    "2XX": {"description": "Taken: stored, so that a crash loses nothing. Anything else is tried again."},
    "410": {"description": "Never again: stops deliveries until an operator starts them."},
    "429": {"description": "Later: `Retry-After` is honoured within reason."},
    "503": {"description": "Later: `Retry-After` is honoured within reason."},
}
_WHEN = {
    "transaction.created": "A client submitted a transaction.",
    "transaction.updated": "A client changed a pending transaction.",
    "transaction.canceled": "A client canceled a pending transaction.",
}


def document(public_url: str, type_base: str = "") -> dict[str, object]:
    """The whole document for a server at `public_url`; `type_base` is PROBLEM_TYPE_BASE where that is set apart."""
    base = type_base or f"{public_url}/problems/"
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "Producer App",
            "version": API_VERSION,
            "summary": "Bank transactions with guaranteed delivery.",
            "description": _INTRODUCTION + _problem_table(base),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": public_url}],
        "security": [{"bearer": []}],
        "tags": [
            {"name": "Transactions", "description": "For clients: submit, list, read, change, cancel."},
            {"name": "Results", "description": "For the Consumer: deliver results, ask what became of them."},
            {"name": "Health", "description": "For probes and dashboards."},
            {"name": "About", "description": "This description."},
        ],
        "paths": openapi_paths.paths(),
        "webhooks": {event_type: _webhook(event_type) for event_type in EVENT_TYPES},
        "components": {
            "securitySchemes": openapi_parts.security_schemes(),
            "parameters": openapi_parts.parameters(),
            "headers": openapi_parts.headers(),
            "schemas": openapi_schemas.schemas() | openapi_problems.schemas(base),
            "examples": openapi_problems.examples(base),
        },
    }


def _problem_table(type_base: str) -> str:
    rows = [
        f"| {problem.status} | [`{problem.slug}`]({type_uri(problem.slug, type_base)}) | {problem.explanation} |"
        for problem in CATALOGUE.values()
    ]
    return "\n".join(["| status | type | what it means |", "|---|---|---|", *rows])


def _webhook(event_type: str) -> dict[str, Any]:
    event_schema = {"allOf": [ref("Event"), {"properties": {"type": {"const": event_type}}}]}
    return {
        "post": {
            "operationId": event_type.replace(".", "_"),
            "tags": ["Results"],
            "summary": _WHEN[event_type],
            "description": "What we POST to the Consumer's CONSUMER_WEBHOOK_URL while the broker takes no events: the same "
            "bytes as on the broker, with `webhook-id` = the event's `id`, signed by Standard Webhooks with every active "
            "secret. At least once, in order per transaction; no redirects are followed.",
            "security": [{"signature": []}],
            "parameters": [openapi_parts.parameter("webhook-id"), openapi_parts.parameter("webhook-timestamp")],
            "requestBody": {
                "required": True,
                "content": {"application/cloudevents+json": {"schema": event_schema}},
            },
            "responses": _WEBHOOK_ANSWERS,
        }
    }
