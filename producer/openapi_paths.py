"""Every path of the API with its answers; `producer.openapi` puts the document together."""

from typing import Any

from django.conf import settings

from producer.openapi_examples import FAILED, MOMENT, NEW, PENDING, SUCCEEDED, TXN_ID
from producer.openapi_fields import Schema, ref
from producer.openapi_parts import header, list_parameters, parameter
from producer.openapi_problems import responses
from transactions.views import MAX_BATCH

_ALWAYS = ("method-not-allowed", "internal-error", "service-unavailable")
_CLIENT = ("unauthorized", "not-acceptable", "invalid-parameter", "rate-limited", *_ALWAYS)
_ONE = ("not-found", *_CLIENT)
_BODY = ("malformed-json", "length-required", "content-too-large")
_JSON = (*_BODY, "unsupported-media-type", "validation-error")
_KEY = ("idempotency-key-invalid", "idempotency-key-reused", "idempotency-key-in-use")
_CREATE = (*_JSON, *_KEY, "idempotency-key-missing", "external-id-exists", *_CLIENT)
_CHANGE = (*_JSON, *_KEY, "precondition-required", "precondition-failed", "state-conflict", "external-id-exists", *_ONE)
_CANCEL = (*_BODY, *_KEY, "precondition-failed", "state-conflict", *_ONE)
_SIGNED = ("webhook-signature-invalid", "webhook-timestamp-invalid", *_BODY, *_ALWAYS)
_RESULT = (*_SIGNED, "unsupported-media-type", "webhook-id-reused", "rate-limited")
_PROBE = ("method-not-allowed", "internal-error")


def _examples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: {"value": value} for name, value in values.items()}


def answer(description: str, schema: Schema | None, *headers: str, **examples: Any) -> dict[str, Any]:
    """A success; X-Request-ID comes with every answer."""
    found: dict[str, Any] = {
        "description": description,
        "headers": {name.removesuffix("-Sometimes"): header(name) for name in ("X-Request-ID", *headers)},
    }
    if schema is not None:
        media: dict[str, Any] = {"schema": schema}
        if examples:
            media["examples"] = _examples(examples)
        found["content"] = {"application/json": media}
    return found


def request_body(name: str, limit: int, **examples: Any) -> dict[str, Any]:
    """A JSON body of at most `limit` bytes."""
    media: dict[str, Any] = {"schema": ref(name)}
    if examples:
        media["examples"] = _examples(examples)
    return {"required": True, "description": f"At most {limit:,} bytes, UTF-8.", "content": {"application/json": media}}


def operation(
    operation_id: str,
    tag: str,
    summary: str,
    description: str,
    successes: dict[str, Any],
    problems: tuple[str, ...],
    **more: Any,
) -> dict[str, Any]:
    """One operation; problems by slug."""
    return {
        "operationId": operation_id,
        "tags": [tag],
        "summary": summary,
        "description": description,
        **more,
        "responses": successes | responses(problems),
    }


def _links() -> dict[str, Any]:
    by_id = {"id": "$response.body#/id"}
    return {
        "read": {"operationId": "readTransaction", "parameters": by_id, "description": "The transaction as it is now."},
        "change": {
            "operationId": "changeTransaction",
            "parameters": by_id | {"header.If-Match": "$response.header.ETag"},
            "description": "While it is pending.",
        },
        "cancel": {"operationId": "cancelTransaction", "parameters": by_id, "description": "While it is pending."},
        "history": {"operationId": "readHistory", "parameters": by_id, "description": "What happened to it."},
    }


def _collection() -> dict[str, Any]:
    return {
        "get": operation(
            "listTransactions",
            "Transactions",
            "List your transactions",
            "Newest first. Follow `next_cursor` (or the `Link` header) until `has_more` is false; there is no total count.",
            {"200": answer("A page.", ref("TransactionList"), "Link-Sometimes")},
            _CLIENT,
            parameters=list_parameters(),
        ),
        "post": operation(
            "createTransaction",
            "Transactions",
            "Submit a transaction",
            "Stores it, its history and its event in one database transaction: after 201 it is durable and will be "
            "delivered. Sent again with the same key and body it is the same answer and no second transaction.",
            {
                "201": answer(
                    "Created, or the same answer as the first time.",
                    ref("Transaction"),
                    "Location",
                    "ETag",
                    "Idempotent-Replayed",
                    pending=PENDING,
                )
                | {"links": _links()}
            },
            _CREATE,
            parameters=[parameter("Idempotency-Key"), parameter("traceparent")],
            requestBody=request_body(
                "NewTransaction",
                settings.MAX_BODY_BYTES,
                complete=NEW,
                smallest={name: NEW[name] for name in ("account_number", "amount", "currency", "direction")},
                yen={**NEW, "amount": "12500", "currency": "JPY", "external_id": "inv-883"},
            ),
        ),
    }


def _batch() -> dict[str, Any]:
    return {
        "post": operation(
            "createBatch",
            "Transactions",
            f"Submit up to {MAX_BATCH:,} transactions",
            "All or none. Errors point to the item: `#/transactions/3/amount`. The list's filter `idempotency_key` finds "
            "them all again.",
            {"201": answer("All created, in your order.", ref("CreatedBatch"), "Idempotent-Replayed")},
            _CREATE,
            parameters=[parameter("Idempotency-Key"), parameter("traceparent")],
            requestBody=request_body("NewBatch", settings.MAX_BATCH_BODY_BYTES),
        )
    }


def _item() -> dict[str, Any]:
    changed = {"200": answer("As it is now.", ref("Transaction"), "ETag", "Idempotent-Replayed-Sometimes")}
    change_parameters = [parameter(name) for name in ("If-Match", "Idempotency-Key-Optional", "traceparent")]
    return {
        "parameters": [parameter("id")],
        "get": operation(
            "readTransaction",
            "Transactions",
            "Read a transaction",
            "Cheap to repeat with `If-None-Match`.",
            {
                "200": answer(
                    "The transaction.", ref("Transaction"), "ETag", pending=PENDING, succeeded=SUCCEEDED, failed=FAILED
                ),
                "304": answer("It is still what your ETag stands for.", None, "ETag"),
            },
            ("precondition-failed", *_ONE),
            parameters=[parameter("If-None-Match"), parameter("If-Match-Read")],
        ),
        "put": operation(
            "replaceTransaction",
            "Transactions",
            "Replace a pending transaction",
            "What is left out gets its default, but `transaction_date` stays. A change that changes nothing is 200 with "
            "no new version and no event.",
            changed,
            _CHANGE,
            parameters=change_parameters,
            requestBody=request_body("NewTransaction", settings.MAX_BODY_BYTES, complete=NEW),
        ),
        "patch": operation(
            "changeTransaction",
            "Transactions",
            "Change a pending transaction",
            "Changes what is named; null means the default.",
            changed,
            _CHANGE,
            parameters=change_parameters,
            requestBody=request_body(
                "TransactionPatch",
                settings.MAX_BODY_BYTES,
                description={"description": "Invoice 881, corrected"},
                money={"amount": "80.00", "currency": "EUR"},
            ),
        ),
        "delete": operation(
            "cancelTransaction",
            "Transactions",
            "Cancel a pending transaction",
            "The transaction stays and reads `canceled`. A second time is 204 too.",
            {"204": answer("Canceled.", None, "Idempotent-Replayed-Sometimes")},
            _CANCEL,
            parameters=[parameter(name) for name in ("If-Match-Optional", "Idempotency-Key-Optional", "traceparent")],
        ),
    }


def _events() -> dict[str, Any]:
    return {
        "parameters": [parameter("id")],
        "get": operation(
            "readHistory",
            "Transactions",
            "Read a transaction's history",
            "Oldest first: each change, each event with how it was delivered, each result with what became of it.",
            {"200": answer("The history.", ref("History"))},
            _ONE,
        ),
    }


def _results() -> dict[str, Any]:
    result = {"type": "transaction.succeeded", "timestamp": MOMENT}
    data = {"transaction_id": TXN_ID, "transaction_version": 1, "processed_data": {"reference": "BK-2026-0042"}}
    return {
        "post": operation(
            "receiveResult",
            "Results",
            "Deliver a result (Consumer)",
            "Standard Webhooks 1.0.0. 202 means that we have it and will apply it, whatever else fails; ask the receipt "
            "what became of it. Repeat with the same `webhook-id` and bytes until you get a 2xx; 401 needs a new "
            "signature. What is signed well but is no result is kept and answered 202 `quarantined`.",
            {
                "200": answer("We have this delivery already.", ref("Duplicate"), duplicate={"status": "applied"}),
                "202": answer("Stored.", {"oneOf": [ref("Accepted"), ref("Quarantined")]}),
            },
            _RESULT,
            security=[{"signature": []}],
            parameters=[parameter("webhook-id"), parameter("webhook-timestamp")],
            requestBody=request_body("Result", settings.MAX_WEBHOOK_BODY_BYTES, succeeded=result | {"data": data}),
        )
    }


def _receipt() -> dict[str, Any]:
    return {
        "parameters": [parameter("webhook_id")],
        "get": operation(
            "readReceipt",
            "Results",
            "What became of a result (Consumer)",
            "Signed like a delivery: `webhook-id` is the id asked for, the body is empty.",
            {"200": answer("The receipt.", ref("Receipt"))},
            (*_SIGNED, "not-found"),
            security=[{"signature": []}],
            parameters=[parameter("webhook-id"), parameter("webhook-timestamp")],
        ),
    }


def _open(operation_id: str, summary: str, successes: dict[str, Any], tag: str, *problems: str) -> dict[str, Any]:
    return {"get": operation(operation_id, tag, summary, "Needs no key.", successes, (*_PROBE, *problems), security=[])}


def _text(description: str, media_type: str) -> dict[str, Any]:
    return answer(description, None) | {"content": {media_type: {"schema": {"type": "string"}}}}


def paths() -> dict[str, Any]:
    """Every path, in the order in which a newcomer needs them."""
    ready = {
        "200": answer("Every check passes.", ref("Readiness")),
        "503": answer("A check fails.", ref("Readiness"), "Retry-After"),
    }
    schema = answer("The document.", {"type": "object", "required": ["openapi", "paths"]})
    return {
        "/api/v1/transactions": _collection(),
        "/api/v1/transactions/batch": _batch(),
        "/api/v1/transactions/{id}": _item(),
        "/api/v1/transactions/{id}/events": _events(),
        "/api/v1/webhooks/results": _results(),
        "/api/v1/webhooks/results/{webhook_id}": _receipt(),
        "/api/v1/schema": _open("readSchema", "This document", {"200": schema}, "About"),
        "/api/v1/docs": _open("readDocs", "A page to try it", {"200": _text("The page.", "text/html")}, "About"),
        "/livez": _open("readLiveness", "The process answers", {"200": answer("Yes.", ref("Liveness"))}, "Health"),
        "/readyz": _open("readReadiness", "Everything that it needs is there", ready, "Health"),
        "/metrics": _open(
            "readMetrics",
            "Numbers for Prometheus",
            {"200": _text("Prometheus exposition text.", "text/plain")},
            "Health",
            "service-unavailable",
        ),
    }
