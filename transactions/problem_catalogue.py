"""Every problem type the API can answer with (RFC 9457), as data: for the builder, the OpenAPI schema and the docs.

Import it from `transactions.problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Problem:
    """One problem type. `title` is fixed per type; `explanation` and `remedy` are for the docs page of its URI.

    `headers` are sent with it unless the raiser gives others: what RFC 9110 demands, and how many seconds to wait.
    """

    slug: str
    status: int
    title: str
    explanation: str
    remedy: str
    headers: Mapping[str, str] = field(default_factory=dict)


_BEARER = {"WWW-Authenticate": "Bearer"}
# RFC 9110 §15.5.2 demands a challenge with each 401; no scheme is registered for Standard Webhooks.
_SIGNED = {"WWW-Authenticate": "StandardWebhooks"}
_SOON = {"Retry-After": "1"}
_LATER = {"Retry-After": "5"}

_PROBLEMS = (
    Problem(
        "malformed-json", 400, "Malformed JSON",
        "The body is not one JSON object in UTF-8: a syntax error, a byte order mark, NaN or Infinity, a member twice "
        "in one object, or more than 32 levels of nesting.",
        "Send what a strict JSON encoder writes.",
    ),
    Problem(
        "invalid-parameter", 400, "Invalid query parameter",
        "A cursor, limit or filter has a bad value, or the parameter is unknown here.",
        "Use the parameters of the schema; take cursors from `next_cursor`, with the same filters.",
    ),
    Problem(
        "idempotency-key-missing", 400, "Idempotency-Key missing",
        "Creating transactions needs an `Idempotency-Key` header, so that a repeat never creates a second one.",
        "Send a new random key (a UUID) with each new request, and the same key with its repeats.",
    ),
    Problem(
        "idempotency-key-invalid", 400, "Idempotency-Key invalid",
        "The key is not 1 to 255 printable ASCII characters, bare or quoted.",
        "Send one key, such as a UUID.",
    ),
    Problem(
        "unauthorized", 401, "Not authenticated",
        "There is no API key in the request, or it is unknown or revoked.",
        "Send `Authorization: Bearer <key>` with an active key.",
        _BEARER,
    ),
    Problem(
        "webhook-signature-invalid", 401, "Webhook signature invalid",
        "A `webhook-` header is missing or malformed, or no signature fits the bytes received and an active key.",
        "Sign the raw bytes as Standard Webhooks 1.0.0 says, with a current secret.",
        _SIGNED,
    ),
    Problem(
        "webhook-timestamp-invalid", 401, "Webhook timestamp invalid",
        "`webhook-timestamp` is no whole number of unix seconds, or over 300 seconds away from our clock.",
        "Sign each attempt anew with the current time, and keep the clock synchronised.",
        _SIGNED,
    ),
    Problem(
        "forbidden", 403, "Not permitted",
        "The API key is good, but may not do this.",
        "Use a key with the right to do it.",
    ),
    Problem(
        "not-found", 404, "Not found",
        "Nothing is here, or it belongs to another client.",
        "Check the path and the id.",
    ),
    Problem(
        "method-not-allowed", 405, "Method not allowed",
        "The path exists and does not take this method.",
        "Use a method from the `Allow` header.",
    ),
    Problem(
        "not-acceptable", 406, "Not acceptable",
        "The `Accept` header excludes JSON, and there is nothing else.",
        "Send `Accept: application/json`, or none.",
    ),
    Problem(
        "external-id-exists", 409, "External id exists",
        "Another transaction of this client has the `external_id`; `transaction_id` says which.",
        "Read that transaction, or choose another `external_id`: one is unique per client for ever.",
    ),
    Problem(
        "idempotency-key-in-use", 409, "Idempotency-Key in use",
        "A request with the same key is still being processed.",
        "Repeat it after `Retry-After` seconds, with the same key.",
        _SOON,
    ),
    Problem(
        "state-conflict", 409, "Conflict with the state of the transaction",
        "Only a pending transaction can be changed or canceled; `transaction_status` says where this one is.",
        "Read the transaction; correct a finished one with a new one.",
    ),
    Problem(
        "length-required", 411, "Length required",
        "The body came without a `Content-Length`.",
        "Send `Content-Length`.",
    ),
    Problem(
        "precondition-failed", 412, "Precondition failed",
        "The transaction is no longer the one that the `If-Match` tag stands for, or is one that `If-None-Match` excludes.",
        "Read it again, decide again, and repeat with the new `ETag`.",
    ),
    Problem(
        "content-too-large", 413, "Content too large",
        "The body is over the limit of this path: 64 KiB, a batch 2 MiB, a webhook 256 KiB.",
        "Send less, or several batches.",
    ),
    Problem(
        "unsupported-media-type", 415, "Unsupported media type",
        "The body is not `application/json` in UTF-8, or has a `Content-Encoding`.",
        "Send `Content-Type: application/json`, uncompressed.",
    ),
    Problem(
        "validation-error", 422, "Validation failed",
        "The JSON is well formed, but fields are missing, unknown, read-only or have bad values: see `errors`.",
        "Correct what each `pointer` points to; nothing was stored.",
    ),
    Problem(
        "idempotency-key-reused", 422, "Idempotency-Key reused",
        "The key was used before for another request (method, path, query or body differ).",
        "Use a new key for a new request.",
    ),
    Problem(
        "webhook-id-reused", 422, "Webhook id reused",
        "The `webhook-id` was received before with other bytes. The first stands, this one is kept as evidence.",
        "Give each message its own id, and repeat a message with the same bytes.",
    ),
    Problem(
        "precondition-required", 428, "Precondition required",
        "A change needs an `If-Match` header, so that it cannot overwrite a change it has not seen.",
        "Send the `ETag` of the transaction you read as `If-Match`.",
    ),
    Problem(
        "rate-limited", 429, "Too many requests",
        "The client is over its rate.",
        "Wait `Retry-After` seconds, and repeat with the same `Idempotency-Key`.",
        _SOON,
    ),
    Problem(
        "internal-error", 500, "Internal error",
        "The fault is ours, and logged under the id in `instance`.",
        "Repeat later with the same `Idempotency-Key`; report the id if it stays.",
    ),
    Problem(
        "service-unavailable", 503, "Service unavailable",
        "The database is away or busy. If it went while it wrote, what was asked for may be stored all the same.",
        "Wait `Retry-After` seconds, and repeat with the same `Idempotency-Key`: a new one could do it a second time.",
        _LATER,
    ),
)  # fmt: skip

CATALOGUE: Mapping[str, Problem] = {problem.slug: problem for problem in _PROBLEMS}
