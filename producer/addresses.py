"""The hosts behind a URL: PostgreSQL takes several in one (`host1:5432,host2:5432`), RabbitMQ several URLs (`amqp://…;amqp://…`)."""

import socket
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS = {"postgres": 5432, "postgresql": 5432, "amqp": 5672, "amqps": 5671}


class Address(NamedTuple):
    """Where one server listens, and as whom we would log in."""

    user: str
    host: str
    port: int


def addresses(url: str) -> list[Address]:
    """All of them, in the order in which they are tried; none for a URL without a host, as of a file."""
    found = []
    for one in url.split(";"):
        parts = urlsplit(one.strip())
        login, _, hosts = parts.netloc.rpartition("@")
        for host in hosts.split(","):
            server = urlsplit(f"//{login}@{host}" if login else f"//{host}")
            if server.hostname:
                port = server.port or DEFAULT_PORTS.get(parts.scheme, 0)
                found.append(Address(unquote(server.username or ""), server.hostname, port))
    return found


def first_that_answers(url: str, seconds: float) -> Address | None:
    """The first address that accepts a connection within `seconds` each."""
    for address in addresses(url):
        try:
            socket.create_connection((address.host, address.port), seconds).close()
        except OSError:
            continue
        return address
    return None
