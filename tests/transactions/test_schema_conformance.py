"""Live answers against the published schema: each success, and errors of every kind, with their headers."""

import json
import re
import time
import uuid
from unittest import mock

import pytest
from django.db import OperationalError
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from producer import health
from producer.openapi import document
from tests.settings import TEST_SECRET
from transactions.models import Transaction
from webhooks import services
from webhooks.signing import load_key, sign

pytestmark = pytest.mark.django_db

NEW = {"account_number": "DE89370400440532013000", "amount": "125.50", "currency": "EUR", "direction": "debit"}


@pytest.fixture
def described(settings):
    return document(settings.PUBLIC_URL, settings.PROBLEM_TYPE_BASE)


def validator(described, schema):
    rooted = json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))
    registry = Registry().with_resource("urn:api", Resource(contents=described, specification=DRAFT202012))
    return Draft202012Validator(rooted, registry=registry, format_checker=FormatChecker())


def operation_of(described, method, path):
    for template, operations in sorted(described["paths"].items(), key=lambda item: "{" in item[0]):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path.split("?")[0]):
            return operations[method.lower()]
    raise AssertionError(f"no path for {path}")


def follow(described, value):
    while "$ref" in value:
        found = described
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


def check(described, method, path, answer):
    """The answer is one that the document promises: status, media type, body, headers."""
    operation = operation_of(described, method, path)
    assert str(answer.status_code) in operation["responses"], f"{method} {path}: {answer.status_code} is not described"
    promised = operation["responses"][str(answer.status_code)]
    for name, reference in promised.get("headers", {}).items():
        header = follow(described, reference)
        if name in answer.headers:
            validator(described, header["schema"]).validate(answer.headers[name])
        else:
            assert not header.get("required"), f"{method} {path}: {answer.status_code} without {name}"
    if "content" not in promised:
        assert answer.content == b""
        return None
    ((media_type, media),) = promised["content"].items()
    assert answer.headers["Content-Type"].split(";")[0] == media_type
    if "json" not in media_type:
        return None
    body = json.loads(answer.content)
    validator(described, media["schema"]).validate(body)
    if media_type == "application/problem+json":
        assert body["status"] == answer.status_code
        assert body["instance"] == f"urn:uuid:{answer.headers['X-Request-ID']}"
    return body


@pytest.fixture
def call(api, described):
    def request(method, path, body=None, *, status, **options):
        answer = api.request(method, path, body, **options)
        assert answer.status_code == status, answer.content
        return check(described, method, path, answer), answer

    return request


@pytest.fixture
def post(call):
    def create(status=201, path="/api/v1/transactions", key=None, **fields):
        return call("POST", path, NEW | fields, status=status, Idempotency_Key=key or str(uuid.uuid4()))

    return create


def signed(
    client, webhook_id, body=b"", *, method="POST", path="/api/v1/webhooks/results", now=None, secret=TEST_SECRET
):
    timestamp = int(time.time()) if now is None else now
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(load_key(secret), webhook_id, timestamp, body),
    }
    return client.generic(method, path, body, content_type="application/json", headers=headers)


def result_of(txn_id, kind="succeeded", **data):
    about = {"transaction_id": txn_id, "transaction_version": 1, "processed_data": {"a": 1}, **data}
    message = {"type": f"transaction.{kind}", "timestamp": "2026-11-22T10:15:00Z", "data": about}
    return json.dumps(message).encode()


def apply(client, described, body):
    """A result, delivered and applied; its webhook-id."""
    webhook_id = f"w-{uuid.uuid4()}"
    check(described, "POST", "/api/v1/webhooks/results", signed(client, webhook_id, body))
    services.apply_due(budget_seconds=5)
    return webhook_id


def test_a_created_transaction_and_its_replay(post):
    first, answer = post(
        key="k1",
        external_id="e",
        description="ö",
        metadata={"a": [1, None]},
        transaction_date="2026-11-22T10:15:00+01:00",
    )
    again, repeated = post(
        key="k1",
        external_id="e",
        description="ö",
        metadata={"a": [1, None]},
        transaction_date="2026-11-22T10:15:00+01:00",
    )
    assert again == first
    assert (answer.headers["Idempotent-Replayed"], repeated.headers["Idempotent-Replayed"]) == ("false", "true")


def test_an_answer_has_exactly_the_members_of_the_schema(post, described):
    body, _ = post()
    assert list(body) == list(described["components"]["schemas"]["Transaction"]["properties"])


@pytest.mark.parametrize(
    ("currency", "amount", "shown"), [("JPY", "7", "7"), ("KWD", "7", "7.000"), ("CLF", "7.1", "7.1000")]
)
def test_amounts_of_every_number_of_digits(post, currency, amount, shown):
    body, _ = post(currency=currency, amount=amount)
    assert body["amount"] == shown


def test_a_batch(call):
    body, _ = call("POST", "/api/v1/transactions/batch", {"transactions": [NEW, NEW]}, status=201, Idempotency_Key="b")
    assert len(body["data"]) == 2


def test_a_list_with_more_and_its_last_page(call, post):
    for _ in range(3):
        post()
    page, answer = call("GET", "/api/v1/transactions?limit=2", status=200)
    assert page["has_more"] and "Link" in answer.headers
    page, answer = call("GET", f"/api/v1/transactions?limit=2&cursor={page['next_cursor']}", status=200)
    assert not page["has_more"] and "Link" not in answer.headers


def test_reading_with_and_without_the_etag(call, post):
    txn, created = post()
    _, answer = call("GET", f"/api/v1/transactions/{txn['id']}", status=200)
    assert answer.headers["ETag"] == created.headers["ETag"]
    call("GET", f"/api/v1/transactions/{txn['id']}", status=304, If_None_Match=created.headers["ETag"])


def test_changing_replacing_and_canceling(call, post):
    txn, created = post()
    path = f"/api/v1/transactions/{txn['id']}"
    changed, answer = call("PATCH", path, {"amount": "1.00"}, status=200, If_Match=created.headers["ETag"])
    assert changed["version"] == 2
    call("PUT", path, NEW, status=200, If_Match=answer.headers["ETag"], Idempotency_Key="p")
    call("DELETE", path, status=204)
    call("DELETE", path, status=204, Idempotency_Key="d")
    canceled, _ = call("GET", path, status=200)
    assert canceled["status"] == "canceled"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("processing", {}),
        ("succeeded", {}),
        ("failed", {"processed_data": None, "error": {"code": "a", "message": "b"}}),
    ],
)
def test_a_transaction_with_its_result_its_history_and_the_receipt(client, call, post, described, kind, data):
    txn, _ = post()
    webhook_id = apply(client, described, result_of(txn["id"], kind, **data))
    shown, _ = call("GET", f"/api/v1/transactions/{txn['id']}", status=200)
    assert shown["status"] == kind
    history, _ = call("GET", f"/api/v1/transactions/{txn['id']}/events", status=200)
    assert {entry["kind"] for entry in history["data"]} == {"change", "event", "result"}
    path = f"/api/v1/webhooks/results/{webhook_id}"
    receipt = check(described, "GET", path, signed(client, webhook_id, method="GET", path=path))
    assert receipt["status"] == "applied"


def test_results_that_are_new_repeated_quarantined_or_reused(client, described):
    path = "/api/v1/webhooks/results"
    body = result_of(str(uuid.uuid4()))
    assert check(described, "POST", path, signed(client, "w1", body))["status"] == "accepted"
    assert check(described, "POST", path, signed(client, "w1", body))["status"] == "received"
    assert check(described, "POST", path, signed(client, "w2", b"no json"))["status"] == "quarantined"
    reused = signed(client, "w1", b"other bytes")
    assert reused.status_code == 422
    check(described, "POST", path, reused)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/api/v1/schema", "/api/v1/docs"])
def test_what_needs_no_key(client, described, path):
    answer = client.get(path)
    # The oldest event of another test may make /readyz red: that answer is described too.
    assert answer.status_code in ({200, 503} if path == "/readyz" else {200})
    check(described, "GET", path, answer)


def test_readiness_without_a_database(client, described, monkeypatch):
    monkeypatch.setitem(health.CHECKS, "database", mock.Mock(side_effect=OperationalError("gone")))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    check(described, "GET", "/readyz", answer)


KEY = {"Idempotency_Key": "e"}
# slug, method, path, body, options; `{id}` is a canceled transaction, `{pending}` one that is not.
ERRORS = [
    ("malformed-json", "POST", "transactions", None, {"raw": b"{", **KEY}),
    ("invalid-parameter", "GET", "transactions?limit=0", None, {}),
    ("idempotency-key-missing", "POST", "transactions", NEW, {}),
    ("idempotency-key-invalid", "POST", "transactions", NEW, {"Idempotency_Key": "x" * 256}),
    ("unauthorized", "GET", "transactions", None, {"Authorization": "Bearer x"}),
    ("not-found", "GET", f"transactions/{uuid.uuid4()}", None, {}),
    ("not-found", "DELETE", "transactions/no-uuid", None, {}),
    ("not-acceptable", "GET", "transactions", None, {"Accept": "text/html"}),
    ("external-id-exists", "POST", "transactions", NEW | {"external_id": "taken"}, KEY),
    ("state-conflict", "PATCH", "transactions/{id}", {"amount": "1.00"}, {"If_Match": "*"}),
    ("precondition-required", "PUT", "transactions/{pending}", NEW, {}),
    ("precondition-failed", "PATCH", "transactions/{pending}", {}, {"If_Match": '"stale"'}),
    ("precondition-failed", "GET", "transactions/{pending}", None, {"If_Match": '"stale"'}),
    ("precondition-failed", "DELETE", "transactions/{pending}", None, {"If_None_Match": "*"}),
    ("content-too-large", "POST", "transactions", None, {"raw": b" " * (64 * 1024 + 1), **KEY}),
    ("unsupported-media-type", "POST", "transactions", NEW, {"content_type": "text/plain", **KEY}),
    ("validation-error", "POST", "transactions", {"amount": 1, "x": 2}, KEY),
    ("validation-error", "POST", "transactions/batch", {"transactions": [NEW | {"amount": "x"}]}, KEY),
    ("idempotency-key-reused", "POST", "transactions", NEW, {"Idempotency_Key": "used"}),
]


@pytest.mark.parametrize(("slug", "method", "path", "body", "options"), ERRORS)
def test_an_error_is_the_described_problem(call, post, described, slug, method, path, body, options):
    canceled, _ = post()
    call("DELETE", f"/api/v1/transactions/{canceled['id']}", status=204)
    pending, _ = post(external_id="taken", key="used")
    path = "/api/v1/" + path.replace("{id}", canceled["id"]).replace("{pending}", pending["id"])
    status = described["components"]["examples"][slug]["value"]["status"]
    problem, _ = call(method, path, body, status=status, **options)
    assert problem["type"].endswith(f"/{slug}")


def test_over_the_rate_is_the_described_problem(call, settings):
    settings.API_RATE_PER_SECOND, settings.API_RATE_BURST = 1, 1
    call("GET", "/api/v1/transactions", status=200)
    problem, _ = call("GET", "/api/v1/transactions", status=429)
    assert problem["type"].endswith("/rate-limited")


@pytest.mark.parametrize(
    ("secret", "age", "slug"),
    [("whsec_" + "A" * 32, 0, "webhook-signature-invalid"), (TEST_SECRET, 400, "webhook-timestamp-invalid")],
)
def test_an_unproven_result_is_the_described_problem(client, described, secret, age, slug):
    answer = signed(client, "w", b"{}", secret=secret, now=int(time.time()) - age)
    assert answer.status_code == 401
    assert check(described, "POST", "/api/v1/webhooks/results", answer)["type"].endswith(f"/{slug}")
    assert not Transaction.objects.exists()


@pytest.mark.parametrize(
    "path",
    [path for path, operations in document("http://x")["paths"].items() if "get" in operations or "post" in operations],
)
def test_another_method_is_405_with_allow(api, described, path):
    concrete = path.replace("{id}", str(uuid.uuid4())).replace("{webhook_id}", "w")
    method = next(name for name in ("get", "post") if name in described["paths"][path])
    for other in {"get", "post", "put", "patch", "delete", "options", "trace"} - set(described["paths"][path]):
        answer = api.request(other.upper(), concrete)
        assert answer.status_code == 405, f"{other} {path}: {answer.status_code}"
        check(described, method, concrete, answer)
