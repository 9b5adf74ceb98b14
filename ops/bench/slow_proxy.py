"""A TCP proxy that delays what it passes on: a network between a process and its server, in a process of its own.

Each direction waits half of the round trip. Bytes keep their order and their rate; only their arrival is late. It counts round
trips: how often a client that had heard from the server spoke again.
"""

import asyncio
import contextlib
import subprocess
import sys
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


class Server:
    def __init__(self, host: str, port: int, delay: float) -> None:
        self.host, self.port, self.delay, self.round_trips = host, port, delay, 0

    async def run(self) -> None:
        """Until whoever started it is gone; says its port first, and the count whenever it is sent a line."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(sys.stdin, lambda: print(self.round_trips, flush=True) if sys.stdin.readline() else over.set())
        await over.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        turn = Turn()
        await asyncio.gather(self.pass_on(reader, far_writer, turn), self.pass_on(far_reader, writer, turn, back=True))

    async def pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, turn: "Turn", back: bool = False
    ) -> None:
        """Reading never waits for the delay, or the delay would also be a limit of the rate."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = asyncio.create_task(self.write(waiting, sink))
        now = asyncio.get_running_loop().time
        with contextlib.suppress(ConnectionError):
            while data := await source.read(262_144):
                self.round_trips += turn.taken(back)
                waiting.put_nowait((now() + self.delay, data))
        waiting.put_nowait((0.0, b""))
        await writing

    @staticmethod
    async def write(waiting: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        with contextlib.suppress(ConnectionError):
            while True:
                due, data = await waiting.get()
                if not data:
                    break
                if (left := due - now()) > 0:
                    await asyncio.sleep(left)
                sink.write(data)
                await sink.drain()
            sink.close()


class Turn:
    """Whose word it is on one connection."""

    def __init__(self) -> None:
        self.back = True

    def taken(self, back: bool) -> bool:
        """True when the client begins to speak after the server."""
        begins = self.back and not back
        self.back = back
        return begins


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Server(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 2).run())
