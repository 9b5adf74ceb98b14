"""A TCP proxy of our own, in front of broker and database: cut, hold, delay, slice, slow down, cut at a byte."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.stack import free_port

UP, DOWN = "up", "down"


class Parser(Protocol):
    """Splits a stream into whole messages; see `streams`."""

    def feed(self, data: bytes) -> list[bytes]: ...

    def rest(self) -> bytes: ...


@dataclass
class Cutter:
    """Cuts connections at chosen bytes of chosen messages: up before the message is whole, down after so many bytes of its answer."""

    matches: Callable[[bytes], bool]
    places: Callable[[bytes], list[int]]
    down: Sequence[int]
    # Between two cuts, so that work gets done (seconds).
    gap: float = 0.3
    done: list[tuple[str, int]] = field(default_factory=list)
    _next_at: float = 0.0

    def where(self, message: bytes) -> tuple[str, int] | None:
        """Where to cut now, or None. Goes through all places in both directions, then from the start."""
        if time.monotonic() < self._next_at or not self.matches(message):
            return None
        plan = [*((UP, place) for place in self.places(message)), *((DOWN, at) for at in self.down)]
        choice = plan[len(self.done) % len(plan)]
        self.done.append(choice)
        self._next_at = time.monotonic() + self.gap
        return choice


class _Link:
    """One client's connection and its other half."""

    def __init__(self, client: tuple, server: tuple) -> None:
        self.readers = {UP: client[0], DOWN: server[0]}
        self.writers = {UP: server[1], DOWN: client[1]}
        # Bytes that the answer may still have before the cut; None: no cut.
        self.budget: int | None = None

    def close(self, rst: bool) -> None:
        for writer in self.writers.values():
            raw = writer.get_extra_info("socket")
            if rst and raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort() if rst else writer.close()


class Proxy:
    """Listens on a port of its own. Its attributes are read at each chunk: set them while it runs."""

    def __init__(self, target_port: int, parser: Callable[[], Parser], seed: int = 0) -> None:
        self.target_port, self.port, self.parser = target_port, free_port(), parser
        self.random = random.Random(seed)
        self.refuse = False
        # Directions in which nothing passes; what was sent arrives when it is lifted, as with a healed partition.
        self.hold: set[str] = set()
        self.delay: tuple[float, float] = (0.0, 0.0)
        self.slice_bytes = 0
        self.bytes_per_second = 0
        self.cutter: Cutter | None = None
        self.links: set[_Link] = set()
        # Connections that ever came, so that somebody can see who tries in a hot loop.
        self.accepted = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"proxy {target_port}")
        self._thread.start()
        assert self._ready.wait(10)

    def cut(self, rst: bool = True) -> int:
        """Closes every connection; returns how many."""
        done: list[int] = []

        def close() -> None:
            links = list(self.links)
            for link in links:
                link.close(rst)
            done.append(len(links))

        self._in_loop(close)
        return done[0]

    def heal(self) -> None:
        self.refuse, self.delay, self.slice_bytes, self.bytes_per_second, self.cutter = False, (0.0, 0.0), 0, 0, None
        self.hold = set()

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _in_loop(self, call: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            try:
                call()
            finally:
                done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        # A few turns, so that what was canceled and aborted has closed its sockets.
        for _ in range(3):
            self._loop.run_until_complete(asyncio.sleep(0))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refuse:
            writer.transport.abort()
            return
        try:
            server = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link((reader, writer), server)
        for each in link.writers.values():
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.links.add(link)
        try:
            await asyncio.gather(self._pump(link, UP), self._pump(link, DOWN))
        except (OSError, asyncio.CancelledError):
            link.close(rst=True)
        finally:
            self.links.discard(link)
            for each in link.writers.values():
                each.close()

    async def _pump(self, link: _Link, direction: str) -> None:
        reader, writer = link.readers[direction], link.writers[direction]
        parser = self.parser() if direction == UP else None
        while data := await reader.read(65536):
            while direction in self.hold:
                await asyncio.sleep(0.02)
            low, high = self.delay
            if high:
                await asyncio.sleep(self.random.uniform(low, high))
            if direction == DOWN and link.budget is not None:
                writer.write(data[: link.budget])
                link.budget -= len(data)
                if link.budget <= 0:
                    await self._cut_after_flush(link, writer)
                    return
                continue
            if parser is None:
                await self._send(writer, data)
                continue
            # Whole messages only, from the first byte of the connection on, or nobody knew where one begins.
            for message in parser.feed(data):
                if not await self._send_or_cut(link, writer, message):
                    return
        if parser is not None:
            writer.write(parser.rest())
        # The other side hears of the end once everything is through.
        writer.close()

    async def _send_or_cut(self, link: _Link, writer: asyncio.StreamWriter, message: bytes) -> bool:
        place = self.cutter.where(message) if self.cutter else None
        if place is None:
            await self._send(writer, message)
            return True
        direction, offset = place
        if direction == DOWN:
            link.budget = offset
            await self._send(writer, message)
            if offset:
                return True
            # Long enough that the server has acted on it; its answer is not passed on.
            await asyncio.sleep(0.05)
            link.close(rst=True)
            return False
        # Nothing comes back, not even when the message had arrived whole.
        link.budget = 0
        writer.write(message[:offset])
        await self._cut_after_flush(link, writer)
        return False

    @staticmethod
    async def _cut_after_flush(link: _Link, writer: asyncio.StreamWriter) -> None:
        # abort() drops what is buffered, so let it go first.
        await writer.drain()
        await asyncio.sleep(0.01)
        link.close(rst=True)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for piece in self._pieces(data):
            writer.write(piece)
            await writer.drain()
            if self.bytes_per_second:
                await asyncio.sleep(len(piece) / self.bytes_per_second)
            elif self.slice_bytes:
                await asyncio.sleep(0)

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        size = self.slice_bytes or (max(1, self.bytes_per_second // 20) if self.bytes_per_second else len(data))
        return (data[at : at + size] for at in range(0, len(data), size))
