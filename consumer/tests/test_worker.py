"""A message that is no task is dead-lettered, and its content is not logged."""

from typing import Any

import pytest

from reference.worker import StrictConsumer


class Message:
    """What the consumer's error callbacks touch of a kombu message."""

    def __init__(self) -> None:
        self.properties = {"message_id": "m-1"}
        self.headers: dict[str, Any] = {"task": "consumer.process_transaction", "id": "m-1"}
        self.body = "DE89370400440532013000"
        self.payload: Any = [[], {"event": {}}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
        self.rejected: list[bool] = []

    def reject_log_error(self, logger: Any, errors: Any, requeue: bool = False) -> None:
        self.rejected.append(requeue)

    def ack(self) -> None:
        raise AssertionError("acknowledged: the message is lost")


@pytest.fixture
def consumer() -> StrictConsumer:
    made: StrictConsumer = StrictConsumer.__new__(StrictConsumer)
    made.connection_errors = ()
    return made


@pytest.mark.parametrize(
    ("callback", "arguments"),
    [
        ("on_decode_error", lambda message: (message, ValueError("DE89370400440532013000"))),
        ("on_unknown_message", lambda message: ("DE89370400440532013000", message)),
        ("on_unknown_task", lambda message: (None, message, KeyError("DE89370400440532013000"))),
        ("on_invalid_task", lambda message: ("DE89370400440532013000", message, ValueError("x"))),
    ],
)
def test_an_unusable_message_is_rejected_once_and_never_logged(
    consumer: StrictConsumer, callback: str, arguments: Any, caplog: pytest.LogCaptureFixture
) -> None:
    message = Message()
    getattr(consumer, callback)(*arguments(message))
    assert message.rejected == [False]
    assert "m-1" in caplog.text
    assert "370400440532" not in caplog.text


def test_an_error_in_celerys_own_handler_does_not_end_the_worker(
    consumer: StrictConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def celerys(_: Any) -> None:
        raise ValueError("not enough values to unpack")

    monkeypatch.setattr(StrictConsumer.__bases__[0], "create_task_handler", lambda self: celerys)
    message = Message()
    consumer.create_task_handler()(message)
    assert message.rejected == [False]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Celery's own handler gets."""
    messages: list[Any] = []
    monkeypatch.setattr(StrictConsumer.__bases__[0], "create_task_handler", lambda self: messages.append)
    return messages


@pytest.mark.parametrize(
    "links", [3, "x", None, [], {"chain": "y"}, {"callbacks": [{}]}, {"errbacks": "x"}, {"chord": {"x": 1}}]
)
def test_what_is_linked_to_other_tasks_never_reaches_celery(
    consumer: StrictConsumer, seen: list[Any], links: Any
) -> None:
    message = Message()
    message.payload = [[], {"event": {}}, links]
    consumer.create_task_handler()(message)
    assert (message.rejected, seen) == ([False], [])


@pytest.mark.parametrize(
    "headers", [None, {}, {"task": ["x"], "id": "m-1"}, {"task": "x"}, {"task": "x", "id": "m" * 256}]
)
def test_a_message_without_a_tasks_name_or_id_never_reaches_celery(
    consumer: StrictConsumer, seen: list[Any], headers: Any
) -> None:
    message = Message()
    message.headers = headers
    consumer.create_task_handler()(message)
    assert (message.rejected, seen) == ([False], [])


def test_what_would_delay_lose_or_hold_an_event_is_taken_out_of_its_headers(
    consumer: StrictConsumer, seen: list[Any]
) -> None:
    message, past = Message(), "2001-01-01T00:00:00+00:00"
    message.headers |= {"eta": past, "expires": past, "timelimit": "x", "stamps": {}, "root_id": "r", "lang": 3}
    consumer.create_task_handler()(message)
    assert (message.rejected, seen) == ([], [message])
    assert message.headers == {"task": "consumer.process_transaction", "id": "m-1", "root_id": "r"}
