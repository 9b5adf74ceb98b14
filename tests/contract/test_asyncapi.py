"""The AsyncAPI document: well formed, true to the topology, and its files exist."""

import json
from pathlib import Path

import pytest
from django.conf import settings
from jsonschema import Draft202012Validator

from outbox.topology import all_queues
from producer.asyncapi import EVENT_QUEUE, EVENT_TASK, EXCHANGE, RESULT_PATH, RESULT_QUEUE, RESULT_TASK, asyncapi
from producer.celery import app
from producer.openapi import document

DOCS = Path(__file__).parents[2] / "docs"
# AMQP binding 0.3.0: nothing else is allowed in them.
BINDINGS = {
    "channels": {"is", "exchange", "queue", "bindingVersion"},
    "operations": {
        "expiration",
        "userId",
        "cc",
        "priority",
        "deliveryMode",
        "mandatory",
        "bcc",
        "timestamp",
        "ack",
        "bindingVersion",
    },
}


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def resolve(document_, pointer):
    for part in pointer.removeprefix("#/").split("/"):
        document_ = document_[part]
    return document_


@pytest.mark.parametrize("reference", sorted(set(references(asyncapi()))))
def test_every_reference_leads_somewhere(reference):
    if reference.startswith("#/"):
        assert resolve(asyncapi(), reference)
    else:
        Draft202012Validator.check_schema(json.loads((DOCS / reference).read_text()))


def test_every_operation_and_message_is_of_asyncapi_3():
    described = asyncapi()
    assert described["asyncapi"] == "3.1.0"
    assert {operation["action"] for operation in described["operations"].values()} == {"send", "receive"}
    used = {operation["channel"]["$ref"].split("/")[-1] for operation in described["operations"].values()}
    assert used == set(described["channels"])
    for message in described["components"]["messages"].values():
        Draft202012Validator.check_schema(message["headers"]["schema"])


@pytest.mark.parametrize("section", BINDINGS)
def test_amqp_bindings_hold_only_what_the_binding_allows(section):
    bound = [entry["bindings"]["amqp"] for entry in asyncapi()[section].values() if "amqp" in entry.get("bindings", {})]
    assert bound
    for binding in bound:
        assert set(binding) <= BINDINGS[section]


def test_names_are_those_that_the_settings_declare():
    route = settings.OUTBOX_ROUTES["transactions"]
    assert (route["exchange"], route["queue"], route["task"]) == (EXCHANGE, EVENT_QUEUE, EVENT_TASK)
    assert {EVENT_QUEUE, RESULT_QUEUE, f"{EVENT_QUEUE}.dead"} <= {queue.name for queue in all_queues()}
    assert RESULT_PATH in document("http://x")["paths"]
    app.loader.import_default_modules()
    assert RESULT_TASK in app.tasks
