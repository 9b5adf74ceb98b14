"""Several hosts: which they are, and which of them answers."""

import socket

import pytest

from producer.addresses import Address, addresses, first_that_answers
from tests.stack import free_port


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgres://a:b@one:5433/x", [Address("a", "one", 5433)]),
        (
            "postgres://a:b@one:5433,two/x?target_session_attrs=read-write",
            [Address("a", "one", 5433), Address("a", "two", 5432)],
        ),
        ("amqp://one//;amqps://c:d@[::1]:5/v", [Address("", "one", 5672), Address("c", "::1", 5)]),
        ("amqp://a:b,c@one/v", [Address("a", "one", 5672)]),
        ("sqlite:////tmp/x", []),
        ("filesystem:///tmp/x", []),
    ],
)
def test_each_host_of_a_url_is_found(url, found):
    assert addresses(url) == found


def test_the_first_that_answers_is_taken_and_none_is_none():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        url = f"amqp://127.0.0.1:{free_port()}//;amqp://127.0.0.1:{port}//"
        assert first_that_answers(url, 1.0) == Address("", "127.0.0.1", port)
    assert first_that_answers(url, 1.0) is None
