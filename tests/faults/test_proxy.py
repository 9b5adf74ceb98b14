"""The proxy does to a connection what it says, or the matrix would prove nothing."""

import contextlib
import socket
import threading
import time

import pytest

from tests.faults.proxy import DOWN, UP, Cutter, Proxy

pytestmark = pytest.mark.timeout(60)


class Lines:
    """A parser for the tests: a message ends with a newline."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data):
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [line + b"\n" for line in lines]

    def rest(self):
        return self.buffer


class Echo:
    """Answers each line with itself, and keeps what it got."""

    def __init__(self):
        self.got = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with sock:
            while True:
                try:
                    data = sock.recv(1000)
                except OSError:
                    return
                if not data:
                    return
                self.got += data
                sock.sendall(data)


@pytest.fixture
def echo():
    made = Echo()
    yield made
    made.listener.close()


@pytest.fixture
def proxy(echo):
    made = Proxy(echo.port, Lines)
    yield made
    made.close()


@pytest.fixture
def client(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as sock:
        yield sock


def read(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def test_it_passes_everything_on_both_ways(client):
    for size in (1, 100, 200_000):
        line = b"x" * size + b"\n"
        threading.Thread(target=client.sendall, args=(line,)).start()
        assert read(client, len(line)) == line


@pytest.mark.parametrize("settings", [{"slice_bytes": 1}, {"delay": (0.01, 0.02)}, {"bytes_per_second": 2000}])
def test_a_slow_network_changes_no_byte(proxy, client, settings):
    for name, value in settings.items():
        setattr(proxy, name, value)
    line = bytes(range(32, 127)) * 3 + b"\n"
    client.sendall(line)
    assert read(client, len(line)) == line


def test_a_cut_resets_every_connection(proxy, client):
    client.sendall(b"a\n")
    assert read(client, 2) == b"a\n"
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(10)


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_what_is_held_arrives_when_the_partition_heals(proxy, client, echo, direction):
    proxy.hold = {direction}
    client.sendall(b"held\n")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(10)
    assert (echo.got == b"held\n") is (direction == DOWN)
    proxy.hold = set()
    client.settimeout(10)
    assert read(client, 5) == b"held\n"


def test_nobody_is_let_in_while_it_refuses(proxy):
    proxy.refuse = True
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", proxy.port), 10) as sock:
        assert sock.recv(10) == b"", "closed at once"
    assert proxy.accepted >= 1, "whom it refuses is counted too"


def test_it_cuts_at_each_byte_of_the_message_and_then_of_the_answer(proxy, echo):
    proxy.cutter = Cutter(lambda line: line == b"cut\n", lambda line: list(range(len(line) + 1)), range(5), gap=0)
    outcomes = []
    for _ in range(10):
        echo.got = b""
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as sock:
            sock.sendall(b"ok\n")
            assert read(sock, 3) == b"ok\n"
            sock.sendall(b"cut\n")
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                answer = read(sock, 4)
            until = time.monotonic() + 5
            while time.monotonic() < until and len(echo.got) < 3:
                time.sleep(0.01)
            outcomes.append((echo.got[3:], len(answer)))
    assert proxy.cutter.done == [*((UP, at) for at in range(5)), *((DOWN, at) for at in range(5))]
    sent = [got for got, _ in outcomes]
    assert sent[:5] == [b"", b"c", b"cu", b"cut", b"cut\n"], "cut on the way there"
    assert set(sent[5:]) == {b"cut\n"}, "the server had it all"
    assert outcomes[5][1] == 0 and outcomes[4][1] == 0, "nothing came back"
