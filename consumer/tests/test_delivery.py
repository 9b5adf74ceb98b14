"""Delivery of one result: signatures, retries, leases, and which door."""

import json
from datetime import timedelta
from typing import Any

import pytest
import requests
import responses
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from processing import delivery, handler, retry_policy, sweep
from processing.breaker import Breaker
from processing.events import parse
from processing.models import Result
from tests.conftest import QueueDoor, make_event

pytestmark = pytest.mark.django_db
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def result() -> Result:
    return Result.objects.get(pk=handler.handle(parse(make_event()), "broker").result_ids[0])


def test_the_post_is_signed_so_that_the_official_library_accepts_it(
    result: Result, answers: Any, producer: Any
) -> None:
    answers(202)
    assert delivery.deliver(result.pk)
    request = producer.calls[0].request
    assert request.headers["webhook-id"] == result.webhook_id
    assert request.headers["Content-Type"] == "application/json"
    assert "Authorization" not in request.headers
    assert Webhook(SECRET).verify(request.body, dict(request.headers)) == json.loads(result.body)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_2xx_is_success(result: Result, answers: Any, status: int) -> None:
    answers(status)
    assert delivery.deliver(result.pk)
    result.refresh_from_db()
    assert (result.state, result.door, result.attempts, result.leased_until) == ("delivered", "webhook", 1, None)


def test_quick_tries_have_the_same_id_and_bytes_and_fresh_signatures(
    result: Result, answers: Any, producer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1_795_000_000, 1_795_000_100))
    monkeypatch.setattr("processing.webhook_door.time.time", lambda: next(clock))
    answers(503, 503, 202)
    assert delivery.deliver(result.pk)
    sent = [call.request for call in producer.calls]
    assert len(sent) == 3
    assert len({request.headers["webhook-id"] for request in sent}) == 1
    assert len({request.body for request in sent}) == 1
    assert len({request.headers["webhook-timestamp"] for request in sent}) == 3
    assert len({request.headers["webhook-signature"] for request in sent}) == 3


def test_quick_tries_wait_with_jitter_and_not_long(result: Result, answers: Any, pauses: list[float]) -> None:
    answers(500)
    delivery.deliver(result.pk)
    assert len(pauses) == 2
    assert all(0 <= pause <= 2 for pause in pauses)


def test_a_short_retry_after_is_waited_out(result: Result, answers: Any, pauses: list[float]) -> None:
    answers(503, headers={"Retry-After": "2"})
    answers(202)
    assert delivery.deliver(result.pk)
    assert pauses == [2.0]


def test_a_long_retry_after_ends_the_quick_tries_and_sets_the_due_time(
    result: Result, answers: Any, producer: Any
) -> None:
    answers(429, headers={"Retry-After": "120"})
    assert not delivery.deliver(result.pk)
    result.refresh_from_db()
    assert len(producer.calls) == 1
    assert timedelta(seconds=110) < result.next_attempt_at - timezone.now() <= timedelta(seconds=120)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(
    result: Result, answers: Any, producer: Any, second_door: QueueDoor, status: int
) -> None:
    second_door.shut = True
    answers(status, headers={"Location": "http://elsewhere.test/"})
    assert not delivery.deliver(result.pk)
    assert {call.request.url for call in producer.calls} == {"http://producer.test/api/v1/webhooks/results"}


@pytest.mark.parametrize("status", [400, 401, 413, 415, 422])
def test_a_refusal_is_retried_on_schedule_and_never_by_the_second_door(
    result: Result, answers: Any, producer: Any, second_door: QueueDoor, status: int
) -> None:
    answers(status)
    for _ in range(5):
        Result.objects.update(next_attempt_at=timezone.now())
        assert not delivery.deliver(result.pk)
    result.refresh_from_db()
    assert (result.state, result.last_status, result.rounds, len(producer.calls)) == ("pending", status, 5, 5)
    assert second_door.knocks == 0


def test_410_stops_at_once_and_is_loud(result: Result, answers: Any, producer: Any, caplog: Any) -> None:
    answers(410)
    assert not delivery.deliver(result.pk)
    result.refresh_from_db()
    assert (result.state, len(producer.calls)) == ("dead", 1)
    assert [record.levelname for record in caplog.records if "410" in record.getMessage()] == ["CRITICAL"]
    assert sweep.run_once() == 0


@pytest.mark.parametrize("error", [requests.ConnectionError("x"), requests.Timeout("x"), OSError("x")])
def test_the_second_door_opens_after_three_failed_posts(
    result: Result, producer: Any, second_door: QueueDoor, error: Exception
) -> None:
    producer.add(responses.POST, "http://producer.test/api/v1/webhooks/results", body=error)
    assert delivery.deliver(result.pk)
    result.refresh_from_db()
    assert (result.state, result.door, result.attempts) == ("delivered", "queue", 3)
    assert second_door.sent == [(result.webhook_id, result.body)]


def test_the_second_door_stays_closed_before_that(
    result: Result, answers: Any, second_door: QueueDoor, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.QUEUE_DOOR_AFTER = 4
    monkeypatch.setattr(delivery, "webhook_breaker", Breaker(4, 5))
    answers(500)
    assert not delivery.deliver(result.pk)
    assert second_door.knocks == 0
    Result.objects.update(next_attempt_at=timezone.now())
    assert delivery.deliver(result.pk)
    assert second_door.knocks == 1


def test_with_both_doors_shut_the_result_waits_and_is_swept_when_due(
    result: Result, producer: Any, answers: Any, second_door: QueueDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_door.shut = True
    answers(503, 503, 503, 202)
    assert not delivery.deliver(result.pk)
    result.refresh_from_db()
    assert (result.state, result.rounds, result.last_error) == ("pending", 1, "HTTP 503")
    assert result.next_attempt_at > timezone.now()
    assert sweep.run_once() == 0
    monkeypatch.setattr(delivery, "webhook_breaker", Breaker(3, 5))
    Result.objects.update(next_attempt_at=timezone.now())
    assert sweep.run_once() == 1
    result.refresh_from_db()
    assert (result.state, result.door) == ("delivered", "webhook")


def test_while_the_door_is_known_to_be_shut_nobody_knocks_and_no_round_is_used_up(
    result: Result, answers: Any, producer: Any, second_door: QueueDoor
) -> None:
    second_door.shut = True
    answers(503)
    delivery.deliver(result.pk)
    posts = len(producer.calls)
    for _ in range(20):
        Result.objects.update(next_attempt_at=timezone.now())
        assert not delivery.deliver(result.pk)
    result.refresh_from_db()
    assert len(producer.calls) == posts
    assert result.rounds == 1
    assert second_door.knocks == 1


def test_other_results_go_straight_to_the_second_door_while_the_first_is_shut(
    result: Result, answers: Any, producer: Any, second_door: QueueDoor
) -> None:
    answers(503)
    delivery.deliver(result.pk)
    posts = len(producer.calls)
    other = handler.handle(parse(make_event()), "broker").result_ids[0]
    assert delivery.deliver(other)
    assert len(producer.calls) == posts
    assert len(second_door.sent) == 2


def test_when_the_door_opens_again_what_waits_is_due_at_once(
    answers: Any, second_door: QueueDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(delivery, "webhook_breaker", Breaker(3, 5, clock=lambda: now[0]))
    second_door.shut = True
    ids = [handler.handle(parse(make_event()), "broker").result_ids[0] for _ in range(2)]
    answers(503, 503, 503, 202)
    delivery.deliver(ids[0])
    Result.objects.filter(pk=ids[0]).update(next_attempt_at=timezone.now() + timedelta(hours=10))
    now[0] = 6.0
    assert delivery.deliver(ids[1])
    assert sweep.run_once() == 1
    assert set(Result.objects.values_list("state", flat=True)) == {"delivered"}


def test_a_result_ends_dead_after_the_last_pause(
    result: Result, answers: Any, second_door: QueueDoor, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    second_door.shut = True
    settings.RESULT_RETRY_SECONDS = [1, 1]
    answers(500)
    for _ in range(3):
        monkeypatch.setattr(delivery, "webhook_breaker", Breaker(3, 5))
        Result.objects.update(next_attempt_at=timezone.now())
        delivery.deliver(result.pk)
    result.refresh_from_db()
    assert (result.state, result.rounds) == ("dead", 3)
    assert "CRITICAL" in [record.levelname for record in caplog.records]


def test_two_couriers_never_deliver_the_same_result(result: Result, producer: Any) -> None:
    second: list[bool] = []

    def while_the_first_is_posting(_: Any) -> tuple[int, dict[str, str], str]:
        second.append(delivery.deliver(result.pk))
        return 202, {}, "{}"

    producer.add_callback(
        responses.POST, "http://producer.test/api/v1/webhooks/results", callback=while_the_first_is_posting
    )
    assert delivery.deliver(result.pk)
    assert second == [False]
    assert len(producer.calls) == 1


def test_an_owner_that_lost_its_lease_settles_nothing(result: Result, producer: Any) -> None:
    def lease_is_broken(_: Any) -> tuple[int, dict[str, str], str]:
        Result.objects.update(leased_until=None, lease_token="")
        return 410, {}, "{}"

    producer.add_callback(responses.POST, "http://producer.test/api/v1/webhooks/results", callback=lease_is_broken)
    delivery.deliver(result.pk)
    assert Result.objects.get().state == "pending"


def test_an_expired_lease_is_swept(result: Result, answers: Any) -> None:
    answers(202)
    Result.objects.update(leased_until=timezone.now() - timedelta(seconds=1), lease_token="of a dead process")
    assert sweep.run_once() == 1
    assert Result.objects.get().state == "delivered"


def test_a_held_lease_is_left_alone(result: Result) -> None:
    Result.objects.update(leased_until=timezone.now() + timedelta(seconds=30), lease_token="of another process")
    assert sweep.run_once() == 0
    assert not delivery.deliver(result.pk)


@pytest.mark.parametrize("failed", range(1, 15))
def test_each_pause_is_the_schedules_within_a_fifth(failed: int, settings: Any) -> None:
    expected = settings.RESULT_RETRY_SECONDS[failed - 1]
    for _ in range(50):
        pause = retry_policy.pause_seconds(failed, settings.RESULT_RETRY_SECONDS, None)
        assert pause is not None
        assert 0.8 * expected <= pause <= 1.2 * expected


def test_after_the_last_pause_there_is_none_and_retry_after_is_clamped() -> None:
    assert retry_policy.pause_seconds(3, [1, 1], 5.0) is None
    assert retry_policy.pause_seconds(1, [1, 1], 1e9) == retry_policy.MAX_RETRY_AFTER_SECONDS


def test_an_open_breaker_lets_one_probe_through_per_interval() -> None:
    now = [0.0]
    breaker = Breaker(2, 5.0, clock=lambda: now[0])
    breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert [breaker.allows(), breaker.is_open()] == [False, True]
    now[0] = 5.0
    assert [breaker.allows(), breaker.allows()] == [True, False]
    assert breaker.succeeded()
    assert not breaker.succeeded()
    assert breaker.allows()


def test_every_post_has_its_deadlines_and_follows_nothing(result: Result, producer: Any) -> None:
    producer.add(
        responses.POST,
        "http://producer.test/api/v1/webhooks/results",
        status=202,
        match=[responses.matchers.request_kwargs_matcher({"timeout": (3.0, 10.0), "allow_redirects": False})],
    )
    assert delivery.deliver(result.pk)
