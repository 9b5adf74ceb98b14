"""A TCP proxy that delays what it passes on: a network between a process and its server, in a process of its own.

Each direction waits half of the round trip. Bytes keep their order and their rate; only their arrival is late. It counts round
trips: how often a client that had heard from the server spoke again.
"""

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections import deque
from urllib.parse import urlsplit, urlunsplit


class SlowProxy:
    """A context manager; `url` leads to the same server as the given one, over this proxy.

    Raises RuntimeError when the proxy does not start.
    """

    def __init__(self, url: str, round_trip_seconds: float, default_port: int) -> None:
        where = urlsplit(url)
        command = [sys.executable, __file__, where.hostname, str(where.port or default_port), str(round_trip_seconds)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        port = self._process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"no proxy before {where.hostname}: it ended with {self._process.wait(10)}")
        user, found, _ = where.netloc.rpartition("@")
        self.url = urlunsplit(where._replace(netloc=f"{user}{found}127.0.0.1:{port}"))

    def round_trips(self) -> int:
        """Since the start, of all connections."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)

    def __enter__(self) -> "SlowProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Way:
    """What one end of a connection has said and the other has not been told yet. `client`: the end that called."""

    def __init__(self, source: socket.socket, sink: socket.socket, client: bool) -> None:
        self.source, self.sink, self.client = source, sink, client
        self.waiting: deque[tuple[float, bytes]] = deque()
        # The source has said its last.
        self.ended = False


class Server:
    """One thread on select(), whose time-outs are exact to microseconds where epoll's are whole milliseconds. What it costs per
    message counts: it shares the cores with what is measured.
    """

    def __init__(self, host: str, port: int, delay: float) -> None:
        self.target, self.delay, self.round_trips = (host, port), delay, 0
        self.ways: dict[socket.socket, Way] = {}
        # Who spoke last on a connection, by both of its sockets.
        self.spoke: dict[socket.socket, bool] = {}

    def run(self) -> None:
        """Until whoever started it is gone; says its port first, and the count whenever it is sent a line."""
        with socket.create_server(("127.0.0.1", 0)) as door:
            print(door.getsockname()[1], flush=True)
            while True:
                ready, _, _ = select.select([sys.stdin, door, *self._readable()], [], [], self._pass_on())
                for each in ready:
                    if each is sys.stdin:
                        if not sys.stdin.readline():
                            return
                        print(self.round_trips, flush=True)
                    elif each is door:
                        self._connect(door)
                    elif each in self.ways:
                        self._read(self.ways[each])

    def _readable(self) -> list[socket.socket]:
        return [way.source for way in self.ways.values() if not way.ended]

    def _connect(self, door: socket.socket) -> None:
        near, far = door.accept()[0], socket.create_connection(self.target)
        for source, sink, client in ((near, far, True), (far, near, False)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.ways[source] = Way(source, sink, client)
            self.spoke[source] = False

    def _read(self, way: Way) -> None:
        """Reading never waits for the delay, or the delay would also be a limit of the rate."""
        try:
            data = way.source.recv(262_144)
        except ConnectionError:
            data = b""
        if way.client and not self.spoke[way.source]:
            self.round_trips += bool(data)
        self.spoke[way.source] = self.spoke[way.sink] = way.client
        way.ended = not data
        way.waiting.append((time.monotonic() + self.delay, data))

    def _pass_on(self) -> float | None:
        """Sends what is due; returns the seconds until the next is, None when nothing waits."""
        now, left = time.monotonic(), None
        for way in list(self.ways.values()):
            while way.waiting and way.waiting[0][0] <= now:
                data = way.waiting.popleft()[1]
                try:
                    way.sink.sendall(data) if data else way.sink.shutdown(socket.SHUT_WR)
                except OSError:
                    way.ended = True
                if not data:
                    self._forget_if_over(way)
            if way.waiting:
                wait = way.waiting[0][0] - now
                left = wait if left is None else min(left, wait)
        return left

    def _forget_if_over(self, way: Way) -> None:
        other = self.ways.get(way.sink)
        if other is None or (other.ended and not other.waiting):
            for end in (way.source, way.sink):
                self.ways.pop(end, None)
                self.spoke.pop(end, None)
                end.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        Server(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 2).run()
