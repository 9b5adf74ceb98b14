"""The broker's door: what is dead-lettered, what is given back, what is acknowledged."""

from typing import Any

import pytest
from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.db import DatabaseError, IntegrityError, InternalError, OperationalError

from processing import delivery, handler, tasks
from processing.models import Event, Result
from processing.tasks import process_transaction
from reference.celery import app
from tests.conftest import make_event

pytestmark = pytest.mark.django_db


def test_a_good_event_is_decided_and_its_result_posted(answers: Any) -> None:
    answers(202)
    process_transaction.run(event=make_event())
    assert Result.objects.get().state == "delivered"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((), {"event": None}),
        ((), {"event": []}),
        ((), {"event": "x"}),
        ((), {"event": {"specversion": "1.0"}}),
        ((1, 2), {"surprise": 1}),
    ],
)
def test_a_bad_event_is_rejected_without_requeue(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(Reject) as caught:
        process_transaction.run(*args, **kwargs)
    assert caught.value.requeue is False
    assert not Event.objects.exists()


def test_unknown_arguments_beside_a_good_event_are_ignored(answers: Any) -> None:
    answers(202)
    process_transaction.run(event=make_event(), novelty=1)
    assert Result.objects.get().state == "delivered"


def test_a_short_outage_of_the_database_is_waited_out(monkeypatch: pytest.MonkeyPatch, answers: Any) -> None:
    answers(202)
    real, calls = handler.handle, []

    def fail_once(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise OperationalError("away")
        return real(*args)

    monkeypatch.setattr(handler, "handle", fail_once)
    monkeypatch.setattr(tasks, "_drop_connection", lambda _: None)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    process_transaction.run(event=make_event())
    assert len(calls) == 2
    assert Result.objects.get().state == "delivered"


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("away"),
        InternalError("cannot execute UPDATE in a read-only transaction"),
        DatabaseError("server closed the connection"),
        SoftTimeLimitExceeded(),
    ],
    ids=repr,
)
def test_a_long_outage_of_the_database_gives_the_message_back(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(handler, "handle", away)
    monkeypatch.setattr(tasks, "DATABASE_SECONDS", 0)
    with pytest.raises(Reject) as caught:
        process_transaction.run(event=make_event())
    assert caught.value.requeue is True


def test_a_statement_that_is_wrong_is_not_given_back_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any) -> Any:
        raise IntegrityError("never")

    monkeypatch.setattr(handler, "handle", wrong)
    with pytest.raises(IntegrityError):
        process_transaction.run(event=make_event())


def test_a_producer_that_is_away_does_not_fail_the_task() -> None:
    process_transaction.run(event=make_event())
    assert Result.objects.get().state in ("pending", "delivered")


@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("defect")])
def test_no_error_of_the_delivery_gives_a_decided_event_away(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(_: int) -> bool:
        raise error

    monkeypatch.setattr(delivery, "deliver", broken)
    process_transaction.run(event=make_event())
    assert Result.objects.get().state == "pending"


def test_a_redelivered_event_posts_the_same_id_and_bytes(answers: Any, producer: Any) -> None:
    answers(202)
    event = make_event()
    process_transaction.run(event=event)
    process_transaction.run(event=event)
    first, second = (call.request for call in producer.calls)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_acks_late", True),
        ("task_reject_on_worker_lost", True),
        ("task_acks_on_failure_or_timeout", False),
        ("worker_prefetch_multiplier", 1),
        ("broker_connection_max_retries", None),
        ("broker_connection_retry_on_startup", True),
        ("broker_channel_error_retry", True),
        ("worker_cancel_long_running_tasks_on_connection_loss", True),
        ("accept_content", ["json"]),
        ("result_accept_content", ["json"]),
        ("event_serializer", "json"),
        ("task_create_missing_queues", False),
        ("worker_detect_quorum_queues", True),
        ("task_soft_time_limit", 45),
        ("task_time_limit", 60),
        ("worker_max_tasks_per_child", 1000),
        ("worker_consumer", "reference.worker:StrictConsumer"),
    ],
)
def test_a_reliability_setting_holds(name: str, value: Any) -> None:
    assert app.conf[name] == value
