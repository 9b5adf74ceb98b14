"""The web page and its own endpoint in front of the Producer's API."""

import json
from typing import Any

import pytest
import requests
import responses
from django.test import Client

API = "http://producer.test/api/v1/transactions"
FORM = {"account_number": "1", "amount": "1.00", "currency": "EUR", "direction": "debit", "description": ""}


def submit(form: Any, client: Client | None = None) -> Any:
    return (client or Client()).post("/api/transactions", json.dumps(form), content_type="application/json")


def test_the_page_asks_nobody_else_for_anything() -> None:
    answer = Client().get("/")
    html = answer.content.decode()
    assert answer.status_code == 200
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert "//" not in html.replace("http://producer.test", "")
    assert "key-for-tests" not in html


@pytest.mark.parametrize("name", ["page.css", "page.js", "icon.svg"])
def test_its_files_are_served_by_us(name: str) -> None:
    assert Client().get(f"/static/processing/{name}").status_code == 200


def test_without_a_key_the_page_says_so(settings: Any) -> None:
    settings.PRODUCER_API_KEY = ""
    assert "PRODUCER_API_KEY" in Client().get("/").content.decode()
    assert Client().get("/api/transactions").status_code == 503


def test_a_submission_goes_to_the_producer_with_key_and_idempotency_key(producer: Any) -> None:
    producer.add(responses.POST, API, json={"id": "t-1"}, status=201)
    answer = submit({**FORM, "idempotency_key": "0b2ab5f6-form-key-1", "status": "succeeded"})
    request = producer.calls[0].request
    assert (answer.status_code, answer.json()["id"]) == (201, "t-1")
    assert request.headers["Authorization"] == "Bearer key-for-tests"
    assert request.headers["Idempotency-Key"] == "0b2ab5f6-form-key-1"
    assert json.loads(request.body) == {
        "account_number": "1",
        "amount": "1.00",
        "currency": "EUR",
        "direction": "debit",
    }


@pytest.mark.parametrize("key", [None, "", "short", "bad key with spaces", "x" * 300, 7])
def test_a_missing_or_odd_idempotency_key_is_replaced(producer: Any, key: Any) -> None:
    producer.add(responses.POST, API, json={"id": "t-1"}, status=201)
    submit({**FORM, "idempotency_key": key})
    assert len(producer.calls[0].request.headers["Idempotency-Key"]) == 36


@pytest.mark.parametrize(("status", "same"), [(201, False), (422, False), (409, True), (503, True)])
def test_after_an_unclear_answer_the_form_keeps_its_key(producer: Any, status: int, same: bool) -> None:
    producer.add(responses.POST, API, json={"title": "x"}, status=status)
    answer = submit({**FORM, "idempotency_key": "0b2ab5f6-form-key-1"})
    assert (answer.json()["next_idempotency_key"] == "0b2ab5f6-form-key-1") == same


def test_the_producers_field_errors_are_passed_on(producer: Any) -> None:
    errors = [{"detail": "must be a string", "pointer": "#/amount"}]
    producer.add(responses.POST, API, json={"title": "Invalid", "errors": errors}, status=422)
    answer = submit(FORM)
    assert (answer.status_code, answer.json()["errors"]) == (422, errors)


@pytest.mark.parametrize("body", ["", "[]", "null", "{", "[" * 50_000])
def test_a_form_that_is_no_object_is_400(body: str) -> None:
    assert Client().post("/api/transactions", body, content_type="application/json").status_code == 400


def test_a_form_from_another_site_is_refused() -> None:
    assert submit(FORM, Client(enforce_csrf_checks=True)).status_code == 403


def test_the_list_is_the_producers(producer: Any) -> None:
    producer.add(responses.GET, API, json={"data": [{"id": "t-1"}], "next_cursor": None})
    assert Client().get("/api/transactions").json()["data"] == [{"id": "t-1"}]


@pytest.mark.parametrize("failure", [{"body": requests.ConnectionError("refused")}, {"body": "<html>"}])
def test_a_producer_that_does_not_answer_is_said_with_its_address(producer: Any, failure: dict[str, Any]) -> None:
    producer.add(responses.GET, API, **failure)
    answer = Client().get("/api/transactions")
    assert answer.status_code == 502
    assert "http://producer.test" in answer.json()["detail"]


def test_livez_asks_nothing() -> None:
    assert Client().get("/livez").json() == {"status": "ok"}


@pytest.mark.django_db
def test_readyz_is_ok_with_database_and_secrets() -> None:
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["RESULT_SIGNING_KEYS", "FALLBACK_KEYS"])
def test_readyz_names_a_missing_secret(settings: Any, name: str) -> None:
    setattr(settings, name, [])
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert "SECRET" in json.dumps(answer.json()["checks"])
