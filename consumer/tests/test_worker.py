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
