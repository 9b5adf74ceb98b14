"""The web pages and their own endpoints in front of the Producer's API."""

import json
from typing import Any

import pytest
import requests
import responses
from django.db import DatabaseError
from django.test import Client

from processing import handler, pages
from processing.events import parse
from processing.models import Event
from tests.conftest import make_event

API = "http://producer.test/api/v1/transactions"
FORM = {"account_number": "1", "amount": "1.00", "currency": "EUR", "direction": "debit", "description": ""}


def submit(form: Any, client: Client | None = None) -> Any:
    return (client or Client()).post("/api/transactions", json.dumps(form), content_type="application/json")


ONE = "0199aa00-0000-7000-8000-000000000001"


@pytest.mark.parametrize("path", ["/", f"/transactions/{ONE}"])
def test_the_pages_ask_nobody_else_for_anything(path: str) -> None:
    answer = Client().get(path)
    html = answer.content.decode()
    assert answer.status_code == 200
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert "//" not in html.replace("http://producer.test", "")
    assert "key-for-tests" not in html


@pytest.mark.parametrize("name", ["page.css", "live.js", "page.js", "transaction.js", "icon.svg"])
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


def see_one(producer: Any, entries: Any = (), status: int = 200) -> Any:
    producer.add(responses.GET, f"{API}/{ONE}", json={"id": ONE, "status": "pending"}, status=status)
    producer.add(responses.GET, f"{API}/{ONE}/events", json={"data": list(entries)}, status=status)
    return Client().get(f"/api/transactions/{ONE}")


@pytest.mark.django_db
def test_one_transaction_comes_with_the_steps_of_both_sides(producer: Any) -> None:
    handler.handle(parse(make_event(transaction_id=ONE)), Event.Door.BROKER)
    change = {"kind": "change", "at": "2026-01-01T00:00:00Z", "version": 1, "status": "pending", "by": "client"}
    body = see_one(producer, [change]).json()
    assert (body["transaction"]["id"], body["notes"]) == (ONE, [])
    assert [entry["side"] for entry in body["entries"]] == ["Producer"] + ["Consumer"] * 3


@pytest.mark.django_db
def test_what_neither_side_knows_is_404(producer: Any) -> None:
    assert see_one(producer, status=404).status_code == 404


@pytest.mark.django_db
def test_a_transaction_of_another_key_shows_our_part_and_says_why(producer: Any) -> None:
    handler.handle(parse(make_event(transaction_id=ONE)), Event.Door.BROKER)
    body = see_one(producer, status=404).json()
    assert body["transaction"] is None
    assert "API key" in body["notes"][0]


@pytest.mark.django_db
def test_while_the_producer_is_away_our_part_is_shown_and_said_to_be_half(producer: Any) -> None:
    producer.add(responses.GET, f"{API}/{ONE}", body=requests.ConnectionError("refused"))
    assert Client().get(f"/api/transactions/{ONE}").status_code == 502
    handler.handle(parse(make_event(transaction_id=ONE)), Event.Door.BROKER)
    answer = Client().get(f"/api/transactions/{ONE}")
    assert (answer.status_code, len(answer.json()["entries"])) == (200, 3)
    assert "does not answer" in answer.json()["notes"][0]


@pytest.mark.django_db
def test_while_our_database_is_away_the_producers_part_is_shown(producer: Any, monkeypatch: Any) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(pages.Event.objects, "filter", away)
    monkeypatch.setattr(pages.connection, "close", lambda: None)
    body = see_one(producer).json()
    assert body["transaction"]["id"] == ONE
    assert "database" in body["notes"][0]


@pytest.mark.django_db
@pytest.mark.parametrize("reply", [{"json": {"detail": "Too fast."}, "status": 429}, {"json": [], "status": 200}])
def test_an_odd_answer_of_the_producer_is_said_and_no_500(producer: Any, reply: dict[str, Any]) -> None:
    producer.add(responses.GET, f"{API}/{ONE}", **reply)
    producer.add(responses.GET, f"{API}/{ONE}/events", **reply)
    answer = Client().get(f"/api/transactions/{ONE}")
    assert answer.status_code == 502
    assert str(reply["status"]) in answer.json()["detail"]


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
