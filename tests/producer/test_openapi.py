"""The published API description: valid, complete, and the same as the code."""

import json
import re

import pytest
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from outbox.models import OutboxMessage
from producer import openapi_schemas
from producer.env import ROOT
from producer.management.commands.export_schema import files
from producer.openapi import document
from transactions.idempotency import read_key
from transactions.pagination import FILTERS
from transactions.problems import CATALOGUE, ProblemError
from transactions.serializers import read_new
from webhooks.signing import Reason, SignatureError, load_key, sign, verify

DOCUMENT = document("http://127.0.0.1:8000")
OUTSIDE_API = {"/livez", "/readyz", "/metrics"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def validator(schema):
    resource = Resource(contents=DOCUMENT, specification=DRAFT202012)
    rooted = json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))
    return Draft202012Validator(
        rooted, registry=Registry().with_resource("urn:api", resource), format_checker=FormatChecker()
    )


def component(name):
    return validator({"$ref": f"#/components/schemas/{name}"})


def served_paths(patterns=None, prefix="/"):
    for entry in patterns if patterns is not None else get_resolver().url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from served_paths(entry.url_patterns, route)
        elif isinstance(entry, URLPattern):
            yield re.sub(r"<(?:\w+:)?(\w+)>", lambda found: "{" + found.group(1).replace("txn_id", "id") + "}", route)


def test_the_document_is_valid_openapi_3_1():
    assert DOCUMENT["openapi"].startswith("3.1.")
    validate(DOCUMENT)


@pytest.mark.parametrize("name", list(files()))
def test_a_file_in_docs_is_what_the_code_exports(name):
    exported = files()[name]
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == exported, "run `manage.py export_schema`"


def test_the_command_writes_the_same_files_twice(tmp_path, capsys):
    call_command("export_schema", folder=tmp_path)
    first = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    call_command("export_schema", folder=tmp_path)
    assert first == {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {str(path) for path in first} == set(files())


def test_paths_and_urlconf_are_the_same_set():
    served = {path for path in served_paths() if path.startswith("/api/v1/") or path in OUTSIDE_API}
    assert served == set(DOCUMENT["paths"])


def test_every_problem_type_has_schema_example_and_a_line_in_the_table():
    for slug in CATALOGUE:
        example = DOCUMENT["components"]["examples"][slug]["value"]
        assert example["type"].endswith(f"/{slug}")
        assert f"`{slug}`" in DOCUMENT["info"]["description"]


def test_every_problem_type_but_the_admins_is_an_answer_of_some_operation():
    named = {
        slug
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        if "responses" in operation
        for response in operation["responses"].values()
        for slug in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert named == set(CATALOGUE) - {"forbidden"}


def test_every_request_object_refuses_unknown_members():
    for name in ("NewTransaction", "TransactionPatch", "NewBatch"):
        assert DOCUMENT["components"]["schemas"][name]["additionalProperties"] is False


@pytest.mark.parametrize("name", list(DOCUMENT["components"]["schemas"]))
def test_the_examples_of_a_schema_keep_to_it(name):
    Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])
    for example in DOCUMENT["components"]["schemas"][name].get("examples", []):
        component(name).validate(example)


def media_examples():
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            if "responses" not in operation:
                continue
            for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
                for media in holder.get("content", {}).values():
                    for name, example in media.get("examples", {}).items():
                        yield pytest.param(media["schema"], example, id=f"{method} {path} {name}")


@pytest.mark.parametrize(("schema", "example"), list(media_examples()))
def test_every_example_of_a_body_keeps_to_its_schema(schema, example):
    if "$ref" in example:
        example = DOCUMENT["components"]["examples"][example["$ref"].split("/")[-1]]
    validator(schema).validate(example["value"])


@pytest.mark.parametrize("name", list(DOCUMENT["components"]["parameters"]))
def test_the_example_of_a_parameter_keeps_to_its_schema(name):
    parameter = DOCUMENT["components"]["parameters"][name]
    if "example" in parameter:
        validator(parameter["schema"]).validate(parameter["example"])


def test_the_list_takes_every_filter_and_no_other_parameter():
    parameters = {
        entry["$ref"].split("/")[-1] for entry in DOCUMENT["paths"]["/api/v1/transactions"]["get"]["parameters"]
    }
    assert parameters == set(FILTERS) | {"limit", "cursor"}


def test_states_that_outbox_keeps_to_itself_are_copied_rightly():
    assert set(openapi_schemas.EVENT_STATES) == set(OutboxMessage.State.values)


GOOD = {"account_number": "DE1", "amount": "1.50", "currency": "EUR", "direction": "debit"}
BODIES = [
    {},
    *(
        {"amount": text}
        for text in (
            "1",
            "0.01",
            "999999999999999.99",
            "0",
            "0.0",
            "01",
            "1.",
            ".5",
            "1.505",
            "1e3",
            "-1",
            " 1",
            "１",
            "",
        )
    ),
    *({"currency": "JPY", "amount": text} for text in ("1", "1.0", "0")),
    *({"currency": "KWD", "amount": text} for text in ("1.005", "1.0005")),
    *({"currency": code} for code in ("eur", "XXX", "CLF", None, 978)),
    *({"account_number": text} for text in ("A" * 34, "A" * 35, "", " A", "A ", "A B", "5/0:1-2.3", "A_B", "Ä", 7)),
    *({"direction": text} for text in ("credit", "Debit", None)),
    *({"external_id": text} for text in (None, "x", "x" * 64, "x" * 65, "")),
    *({"description": text} for text in (None, "", "x" * 255, "x" * 256, 5)),
    *(
        {"transaction_date": text}
        for text in (None, "2026-11-22T10:15:00+01:00", "2026-11-22", "2026-11-22T10:15:00", 5)
    ),
    *(
        {"metadata": value}
        for value in (
            None,
            {},
            {"a": [1, None, {"b": "c"}]},
            [],
            {str(n): n for n in range(50)},
            {str(n): n for n in range(51)},
        )
    ),
    {"status": "pending"},
    {"unknown": 1},
]


@pytest.mark.parametrize("change", BODIES, ids=lambda change: json.dumps(change)[:60])
def test_schema_and_server_agree_on_a_new_transaction(change):
    body = GOOD | change
    _, errors = read_new(body)
    assert component("NewTransaction").is_valid(body) is (not errors)


@pytest.mark.parametrize("name", list(GOOD))
def test_schema_and_server_agree_on_what_is_required(name):
    body = {key: value for key, value in GOOD.items() if key != name}
    _, errors = read_new(body)
    assert errors
    assert not component("NewTransaction").is_valid(body)


@pytest.mark.parametrize("place", ["description", "external_id"])
@pytest.mark.parametrize("character", ["\x00", "\x1f", "\x7f", "\x85", "\x9f"])
def test_the_schema_refuses_control_characters_everywhere(place, character):
    assert not component("NewTransaction").is_valid(GOOD | {place: f"a{character}b"})
    for metadata in (
        {f"a{character}": 1},
        {"a": f"b{character}c"},
        {"a": [{"b": f"c{character}d"}]},
        {"a": {f"b{character}": 1}},
    ):
        assert not component("NewTransaction").is_valid(GOOD | {"metadata": metadata})


KEYS = [
    "a",
    "a" * 255,
    "a" * 256,
    "a b",
    "",
    '"a"',
    '"a\\"b"',
    '"a"b"',
    '"' + "a" * 255 + '"',
    '"' + "a" * 256 + '"',
    "ä",
    "a\x7f",
    '""',
    '"a',
    "a,b",
]


@pytest.mark.parametrize("key", KEYS)
def test_schema_and_server_agree_on_an_idempotency_key(key):
    schema = DOCUMENT["components"]["parameters"]["Idempotency-Key"]["schema"]
    try:
        accepted = read_key(key) is not None
    except ProblemError:
        accepted = False
    assert validator(schema).is_valid(key) is accepted


@pytest.mark.parametrize("webhook_id", ["a", "a" * 255, "a" * 256, "a.b", "a b", "", "a/b", "ä"])
def test_schema_and_server_agree_on_a_webhook_id(webhook_id):
    schema = DOCUMENT["components"]["parameters"]["webhook-id"]["schema"]
    signature = sign(load_key(SECRET), "x", 1, b"")
    headers = {"webhook-id": webhook_id, "webhook-timestamp": "1", "webhook-signature": signature}
    with pytest.raises(SignatureError) as refused:
        verify([load_key(SECRET)], headers, b"", now=1)
    assert validator(schema).is_valid(webhook_id) is (refused.value.reason is not Reason.ID_MALFORMED)


def test_the_webhooks_are_the_events_that_the_fallback_posts():
    assert list(DOCUMENT["webhooks"]) == ["transaction.created", "transaction.updated", "transaction.canceled"]
    for webhook in DOCUMENT["webhooks"].values():
        assert list(webhook["post"]["requestBody"]["content"]) == ["application/cloudevents+json"]
