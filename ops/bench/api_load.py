"""A load generator: keep-alive HTTP/1.1 over raw sockets in one thread, so that it takes little of the machine."""

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Round:
    """What one round saw. Latencies in seconds, one per answer."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        return 1000 * sorted(self.latencies)[int(share * (len(self.latencies) - 1))]


def request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.started = 0.0
        self.buffer = b""

    def send(self, data: bytes) -> None:
        self.buffer = b""
        self.started = time.perf_counter()
        self.socket.sendall(data)

    def answer(self) -> bytes | None:
        """The whole answer once it is there, else None."""
        part = self.socket.recv(262_144)
        if not part:
            raise ConnectionError("the server closed the connection")
        self.buffer += part
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        return self.buffer if len(rest) >= length else None


def run(port: int, connections: int, seconds: float, make: Callable[[], bytes], expected: bytes = b"201") -> Round:
    """Keeps `connections` requests under way for `seconds`; each is made fresh by `make`."""
    done, selector = Round(), selectors.DefaultSelector()
    opened = [Connection(port) for _ in range(connections)]
    started = time.perf_counter()
    until = started + seconds
    for connection in opened:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(make())
    waiting = len(opened)
    while waiting:
        ready = selector.select(30)
        if not ready:
            raise TimeoutError("no answer for 30 s")
        for key, _ in ready:
            whole = key.data.answer()
            if whole is None:
                continue
            now = time.perf_counter()
            done.latencies.append(now - key.data.started)
            if whole[9:12] != expected:
                done.refused.append(whole)
            if now < until:
                key.data.send(make())
            else:
                waiting -= 1
    done.seconds = time.perf_counter() - started
    for connection in opened:
        connection.socket.close()
    selector.close()
    return done
