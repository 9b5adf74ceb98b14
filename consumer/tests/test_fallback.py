"""The fallback door's table: answer, stored state, and what the courier makes of it."""

import time
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from processing import handler, intake, sweep
from processing.events import parse
from processing.models import Event, Result
from tests.conftest import body_of, make_event, signed_headers

pytestmark = pytest.mark.django_db
URL = "/webhooks/events"
MEDIA = "application/cloudevents+json"


def post(body: bytes, headers: dict[str, str], content_type: str = MEDIA, **more: Any) -> Any:
    return Client(enforce_csrf_checks=True).post(URL, body, content_type=content_type, headers=headers, **more)


def send(event: Any, webhook_id: str | None = None) -> Any:
    body = event if isinstance(event, bytes) else body_of(event)
    return post(body, signed_headers(webhook_id or event["id"], body))


def test_a_new_event_is_stored_before_the_answer() -> None:
    event = make_event()
    answer = send(event)
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    row = Event.objects.get()
    assert (row.event_id, row.state, row.door, bytes(row.body)) == (event["id"], "received", "webhook", body_of(event))


def test_a_copy_is_200_and_one_row() -> None:
    event = make_event()
    assert [send(event).status_code for _ in range(3)] == [202, 200, 200]
    assert Event.objects.get().deliveries == 3


def test_the_stored_event_is_processed_once_by_the_sweep(answers: Any) -> None:
    answers(202)
    send(make_event())
    assert sweep.run_once() > 0
    assert (Event.objects.get().state, Result.objects.get().state) == ("decided", "delivered")
    assert bytes(Event.objects.get().body) == b""
    assert sweep.run_once() == 0


def test_an_event_that_came_by_the_broker_first_is_only_a_copy() -> None:
    event = make_event()
    handler.handle(parse(event), "broker")
    assert send(event).status_code == 200
    assert Result.objects.count() == 1


def test_an_event_that_comes_by_the_broker_while_it_waits_is_processed_once(answers: Any) -> None:
    answers(202)
    event = make_event()
    send(event)
    handler.handle(parse(event), "broker")
    sweep.run_once()
    assert Result.objects.count() == 1
    assert Event.objects.get().state == "decided"


def test_a_copy_of_a_delivered_event_sends_the_result_again() -> None:
    event = make_event()
    handler.handle(parse(event), "broker")
    Result.objects.update(state="delivered")
    assert send(event).status_code == 200
    assert Result.objects.get().state == "pending"


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "options", "head"])
def test_only_post_is_allowed(method: str) -> None:
    answer = getattr(Client(), method)(URL)
    assert answer.status_code == 405
    assert answer["Allow"] == "POST"


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_signature_header_is_401(missing: str) -> None:
    body = body_of(make_event())
    headers = signed_headers("e-1", body)
    del headers[missing]
    assert post(body, headers).status_code == 401
    assert not Event.objects.exists()


@pytest.mark.parametrize("value", ["", "v1", "v1,", "v1,x,y", "garbage", "v1,ä", "v1a,AAAA", " ", "v1,\x00"])
def test_a_malformed_signature_is_401(value: str) -> None:
    body = body_of(make_event())
    answer = post(body, {**signed_headers("e-1", body), "webhook-signature": value})
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["WWW-Authenticate"]
    assert not Event.objects.exists()


@pytest.mark.parametrize(("off", "status"), [(-300 + 5, 202), (300 - 5, 202), (-306, 401), (306, 401)])
def test_the_timestamp_may_be_300_seconds_off(off: int, status: int) -> None:
    event = make_event()
    body = body_of(event)
    assert post(body, signed_headers(event["id"], body, time.time() + off)).status_code == status


def test_each_active_secret_opens_the_door(settings: Any) -> None:
    statuses = []
    for key in settings.FALLBACK_KEYS:
        settings_first, settings.FALLBACK_KEYS = settings.FALLBACK_KEYS, [key]
        event = make_event()
        headers = signed_headers(event["id"], body_of(event))
        settings.FALLBACK_KEYS = settings_first
        statuses.append(post(body_of(event), headers).status_code)
    assert statuses == [202, 202]


def test_without_secrets_nothing_opens_the_door(settings: Any) -> None:
    event = make_event()
    headers = signed_headers(event["id"], body_of(event))
    settings.FALLBACK_KEYS = []
    assert post(body_of(event), headers).status_code == 401


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/cloudevents+json; charset=latin1"]
)
def test_another_media_type_is_415(content_type: str) -> None:
    event = make_event()
    body = body_of(event)
    assert post(body, signed_headers(event["id"], body), content_type).status_code == 415


def test_utf8_may_be_said() -> None:
    event = make_event()
    body = body_of(event)
    assert post(body, signed_headers(event["id"], body), MEDIA + "; charset=UTF-8").status_code == 202


def test_a_content_encoding_is_415() -> None:
    event = make_event()
    body = body_of(event)
    headers = {**signed_headers(event["id"], body), "content-encoding": "gzip"}
    assert post(body, headers).status_code == 415


def test_a_body_over_the_limit_is_413_before_it_is_read() -> None:
    body = b" " * (256 * 1024 + 1)
    assert post(body, signed_headers("e-1", body)).status_code == 413


def test_a_body_at_the_limit_is_taken() -> None:
    event = body_of(make_event(event_id="e-1"))
    body = event + b" " * (256 * 1024 - len(event))
    assert post(body, signed_headers("e-1", body)).status_code == 202


@pytest.mark.parametrize("length", ["", "many", "-1", "٣"])
def test_a_body_of_unknown_length_is_411(length: str) -> None:
    body = body_of(make_event())
    assert post(body, signed_headers("e-1", body), CONTENT_LENGTH=length).status_code == 411


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b"\xff\xfe", b"\x00", b"[" * 50_000, b'{"id": "other"}', body_of(make_event())]
)
def test_an_authentic_body_that_is_no_event_is_kept_for_a_person(body: bytes) -> None:
    answer = send(body, "e-1")
    assert answer.status_code == 202
    assert answer.json()["status"] == "quarantined"
    assert answer.json()["problem"]
    row = Event.objects.get()
    assert (row.state, bytes(row.body)) == ("quarantined", body)
    assert sweep.run_once() == 0


def test_a_good_copy_of_a_quarantined_event_is_processed(answers: Any) -> None:
    answers(202)
    event = make_event()
    send(b"{", event["id"])
    assert send(event).status_code == 200
    sweep.run_once()
    assert (Event.objects.get().state, Result.objects.get().state) == ("decided", "delivered")


def test_a_database_that_is_away_is_503_with_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("away")

    monkeypatch.setattr(intake, "store", away)
    answer = send(make_event())
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
