"""A TCP proxy that delays what it passes on: a network between a relay and its broker, in a thread.

Each direction waits half of the round trip. Bytes keep their order and their rate; only their arrival is late.
"""

import asyncio
import contextlib
import threading


class SlowProxy:
    """Listens on a free port of 127.0.0.1 (`port`) and speaks to `host`:`target`."""

    def __init__(self, host: str, target: int, round_trip_seconds: float) -> None:
        self._host, self._target, self._delay = host, target, round_trip_seconds / 2
        self._loop, self._ready = asyncio.new_event_loop(), threading.Event()
        self.port = 0
        threading.Thread(target=self._run, daemon=True).start()
        if not self._ready.wait(10):
            raise TimeoutError("the proxy does not listen")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._target)
        await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Reading never waits for the delay, or the delay would also be a limit of the rate."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = asyncio.create_task(self._write(waiting, sink))
        with contextlib.suppress(ConnectionError):
            while data := await source.read(262_144):
                waiting.put_nowait((self._loop.time() + self._delay, data))
        waiting.put_nowait((0.0, b""))
        await writing

    async def _write(self, waiting: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                due, data = await waiting.get()
                if not data:
                    break
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                sink.write(data)
                await sink.drain()
            sink.close()
