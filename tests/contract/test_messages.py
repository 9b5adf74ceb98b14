"""The published message schemas and golden messages against what the code really makes and takes."""

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

from outbox.envelope import StoredEvent, wrap
from producer.asyncapi import message_schemas
from tests.publisher_conformance import cloud_event
from transactions.models import Transaction
from transactions.serializers import represent
from webhooks.results import ResultFormatError, read_result
from webhooks.signing import load_key, verify

FOLDER = Path(__file__).parents[2] / "docs" / "contract"
GOLDEN = FOLDER / "golden"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TXN_ID = UUID("01997c3e-5a80-7c4e-9b1f-6a2d3c4e5f60")
AT = datetime(2026, 11, 22, 10, 15, 0, 123000, tzinfo=UTC)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ROUTE = {"exchange": "transactions", "task": "consumer.process_transaction"}


def validator(name):
    schemas = {path.name: json.loads(path.read_text()) for path in FOLDER.glob("*.schema.json")}
    registry = Registry().with_resources([(key, Resource.from_contents(schema)) for key, schema in schemas.items()])
    return Draft202012Validator(schemas[name], registry=registry, format_checker=FormatChecker())


def txn(**changes):
    facts = {
        "id": TXN_ID,
        "external_id": "inv-881",
        "account_number": "DE89370400440532013000",
        "amount": Decimal("125.5000"),
        "currency": "EUR",
        "direction": "debit",
        "transaction_date": datetime(2026, 11, 22, 10, 15, tzinfo=UTC),
        "description": "Invoice 881 – Müller",
        "metadata": {"invoice": 881},
        "created_at": AT,
        "updated_at": AT,
    }
    return Transaction(**facts | changes)


EVENTS = {
    "created": ("01997c3e-5a81-7a10-8f4e-0b1c2d3e4f50", txn()),
    "updated": (
        "01997c3e-6a81-7a10-8f4e-0b1c2d3e4f51",
        txn(amount=Decimal("80.0000"), version=2, updated_at=AT.replace(second=5)),
    ),
    "canceled": (
        "01997c3e-7a81-7a10-8f4e-0b1c2d3e4f52",
        txn(amount=Decimal("80.0000"), version=3, status="canceled", updated_at=AT.replace(second=9)),
    ),
}


def event_text(name):
    event_id, about = EVENTS[name]
    return cloud_event(
        event_id=UUID(event_id),
        source="urn:producer",
        event_type=f"transaction.{name}",
        key=str(about.id),
        sequence=about.version,
        time=about.updated_at,
        traceparent=TRACEPARENT if name == "created" else None,
        data={"transaction": represent(about)},
    )


def stored_event():
    return StoredEvent(
        id=UUID(EVENTS["created"][0]),
        topic="transactions",
        type="transaction.created",
        key=str(TXN_ID),
        sequence=1,
        body=event_text("created"),
        attempts=0,
        created_at=AT,
    )


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_byte_for_byte_the_golden_one(name):
    assert event_text(name).encode() == (GOLDEN / f"event-{name}.json").read_bytes()


@pytest.mark.parametrize("name", EVENTS)
def test_the_golden_event_keeps_to_the_published_schema(name):
    validator("event.schema.json").validate(json.loads((GOLDEN / f"event-{name}.json").read_bytes()))


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "0.3"},
        {"type": "transaction.deleted"},
        {"sequence": "1"},
        {"id": None},
        {"time": "yesterday"},
        {"data": {}},
        {"subject": "42"},
        {"data": {"transaction": {}}},
    ],
)
def test_the_event_schema_refuses_what_is_no_event_of_ours(change):
    event = json.loads((GOLDEN / "event-created.json").read_bytes())
    assert not validator("event.schema.json").is_valid(event | change)


@pytest.mark.parametrize(("currency", "amount"), [("EUR", "1.234"), ("JPY", "1.5"), ("EUR", "0.00"), ("EUR", 1.5)])
def test_the_event_schema_knows_the_digits_of_currencies(currency, amount):
    event = json.loads((GOLDEN / "event-created.json").read_bytes())
    event["data"]["transaction"] |= {"currency": currency, "amount": amount}
    assert not validator("event.schema.json").is_valid(event)


def test_the_celery_message_is_byte_for_byte_the_golden_one():
    message = wrap(stored_event(), ROUTE | {"wire_format": "celery"}, "urn:producer")
    assert message.body == (GOLDEN / "celery-event-created.body.json").read_bytes()
    assert message.headers == json.loads((GOLDEN / "celery-event-created.headers.json").read_text())
    assert message.content_type == "application/json"
    validator("celery-event.schema.json").validate(json.loads(message.body))


def test_the_celery_schema_refuses_a_bare_event():
    assert not validator("celery-event.schema.json").is_valid(json.loads(event_text("created")))
    assert not validator("celery-event.schema.json").is_valid([[], {"event": {}}, {}])


def test_the_cloudevents_message_carries_the_golden_bytes():
    message = wrap(stored_event(), ROUTE | {"wire_format": "cloudevents"}, "urn:producer")
    assert message.body == (GOLDEN / "event-created.json").read_bytes() == stored_event().body.encode()
    assert message.headers == json.loads((GOLDEN / "cloudevents-event-created.headers.json").read_text())
    assert message.content_type == "application/cloudevents+json"


@pytest.mark.parametrize("name", ["event-created", "result-succeeded"])
def test_the_golden_signature_proves_the_golden_bytes(name):
    headers = json.loads((GOLDEN / f"{name}.post-headers.json").read_text())
    body = (GOLDEN / f"{name}.json").read_bytes()
    verified = verify([load_key(SECRET)], headers, body, now=int(headers["webhook-timestamp"]))
    assert verified.webhook_id == headers["webhook-id"]


def test_the_posted_event_has_its_own_id_as_webhook_id():
    headers = json.loads((GOLDEN / "event-created.post-headers.json").read_text())
    assert headers["webhook-id"] == json.loads((GOLDEN / "event-created.json").read_bytes())["id"]


@pytest.mark.parametrize("name", ["processing", "succeeded", "failed"])
def test_a_golden_result_is_accepted_and_keeps_to_the_schema(name):
    raw = (GOLDEN / f"result-{name}.json").read_bytes()
    result = read_result(raw, webhook_id="w", door="webhook")
    assert (result.type, result.transaction_id, result.transaction_version) == (f"transaction.{name}", TXN_ID, 1)
    validator("result.schema.json").validate(json.loads(raw))


def test_the_golden_task_carries_the_signed_bytes():
    kwargs = json.loads((GOLDEN / "celery-result-succeeded.kwargs.json").read_text())
    validator("celery-result.schema.json").validate(kwargs)
    assert kwargs["body"].encode() == (GOLDEN / "result-succeeded.json").read_bytes()
    assert verify([load_key(SECRET)], kwargs["headers"], kwargs["body"].encode(), now=None).webhook_id == "res_01k5"
    assert base64.b64decode(kwargs["headers"]["webhook-signature"].removeprefix("v1,"))


OK = {"transaction_id": str(TXN_ID), "transaction_version": 1, "processed_data": {"a": 1}}
BAD_ERROR = {"code": "x"}
CASES = [
    ("transaction.succeeded", OK, True),
    ("transaction.succeeded", OK | {"later": "member"}, True),
    ("transaction.succeeded", OK | {"transaction_id": str(TXN_ID).upper()}, True),
    ("transaction.succeeded", OK | {"error": None}, True),
    ("transaction.succeeded", OK | {"transaction_version": 2**31 - 1}, True),
    ("transaction.processing", {**OK, "processed_data": None}, True),
    ("transaction.failed", {**OK, "error": {"code": "a", "message": "b", "more": 1}}, True),
    ("transaction.deleted", OK, False),
    ("transaction.succeeded", OK | {"processed_data": None}, False),
    ("transaction.succeeded", OK | {"processed_data": []}, False),
    ("transaction.succeeded", OK | {"transaction_id": TXN_ID.hex}, False),
    ("transaction.succeeded", OK | {"transaction_id": 7}, False),
    ("transaction.succeeded", OK | {"transaction_version": 0}, False),
    ("transaction.succeeded", OK | {"transaction_version": True}, False),
    ("transaction.succeeded", OK | {"transaction_version": 2**31}, False),
    ("transaction.succeeded", OK | {"transaction_version": "1"}, False),
    ("transaction.failed", OK, False),
    ("transaction.failed", OK | {"error": BAD_ERROR}, False),
    ("transaction.processing", OK | {"error": BAD_ERROR}, False),
    ("transaction.processing", [], False),
]


@pytest.mark.parametrize("timestamp", ["2026-11-22T10:15:00Z", "2026-11-22", None])
@pytest.mark.parametrize(("result_type", "data", "good"), CASES)
def test_reader_and_schema_agree_on_what_a_result_is(result_type, data, good, timestamp):
    good = good and timestamp == "2026-11-22T10:15:00Z"
    message = {"type": result_type, "timestamp": timestamp, "data": data}
    try:
        read_result(json.dumps(message).encode(), webhook_id="w", door="webhook")
        accepted = True
    except ResultFormatError:
        accepted = False
    assert accepted is good
    assert validator("result.schema.json").is_valid(message) is good


@pytest.mark.parametrize("name", list(message_schemas()))
def test_a_published_message_schema_is_what_the_code_exports(name):
    Draft202012Validator.check_schema(message_schemas()[name])
    assert json.loads((FOLDER / name).read_text()) == message_schemas()[name]
