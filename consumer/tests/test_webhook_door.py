"""The first door on a real socket: a status that was read counts, whatever becomes of the answer's body."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from processing import webhook_door
from processing.webhook_door import Kind


@contextlib.contextmanager
def answering(answer: bytes, silent: threading.Event | None = None) -> Iterator[int]:
    """Takes one connection, reads the request, writes `answer`, and closes: at once, or when `silent` is set. The port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                if silent is not None:
                    silent.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        if silent is not None:
            silent.set()
        thread.join()


@pytest.fixture
def ask(settings: Any, producer: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Posts once to a Producer that answers these bytes."""
    producer.stop()
    monkeypatch.setattr(webhook_door, "_local", threading.local())

    def post(answer: bytes, silent: threading.Event | None = None) -> webhook_door.Answer:
        with answering(answer, silent) as port:
            settings.RESULT_URL = f"http://127.0.0.1:{port}/api/v1/webhooks/results"
            return webhook_door._post_once("res_1", b"{}", "")

    yield post
    producer.start()


@pytest.mark.parametrize("length", [b"40", b"\xb2", b"9" * 5000])
def test_a_body_that_is_cut_off_or_has_an_odd_length_does_not_unsay_the_status(ask: Any, length: bytes) -> None:
    answer = ask(b"HTTP/1.1 202 Accepted\r\nContent-Length: " + length + b"\r\n\r\n{")
    assert (answer.kind, answer.status) == (Kind.DELIVERED, 202)


def test_a_body_that_does_not_come_does_not_unsay_the_status(ask: Any, settings: Any) -> None:
    settings.RESULT_TIMEOUT_SECONDS = (1.0, 0.2)
    answer = ask(b"HTTP/1.1 202 Accepted\r\nContent-Length: 40\r\n\r\n", threading.Event())
    assert (answer.kind, answer.status) == (Kind.DELIVERED, 202)
