"""Gunicorn's workers share what arrives at once, and keep nobody out for long."""

import itertools
import json
import runpy
import selectors
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from tests.stack import free_port, wait_for

CONF = runpy.run_path("ops/gunicorn.conf.py")
THREADS = 2


@pytest.mark.parametrize("name", ["WEB_WORKERS", "WEB_THREADS"])
def test_processes_and_threads_are_at_least_one_and_an_empty_setting_is_none(monkeypatch, name):
    def read(value):
        monkeypatch.setenv(name, value)
        return runpy.run_path("ops/gunicorn.conf.py")[name.removeprefix("WEB_").lower()]

    assert read("") == CONF[name.removeprefix("WEB_").lower()] and read("3") == 3
    for bad in ("0", "-1", "two"):
        with pytest.raises(SystemExit, match=f"{name} must be a whole number of at least 1"):
            read(bad)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(CONF["time"], "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def worker(listener):
    """One process: its threads take a connection and never end."""
    config = Config()
    config.set("threads", THREADS)
    worker = CONF["SharingWorker"](0, 0, [listener], None, 30, config, None)
    worker.poller = selectors.DefaultSelector()
    worker.tpool = SimpleNamespace(submit=lambda *_: Future())
    yield worker
    worker.poller.close()


@pytest.fixture
def connect(listener):
    opened = []

    def connect(count):
        opened.extend(socket.create_connection(listener.getsockname()) for _ in range(count))

    yield connect
    for one in opened:
        one.close()


def accept_all(worker):
    """What gunicorn's loop does until nothing is left to accept, or the worker will not."""
    for _ in range(20):
        worker.set_accept_enabled(True)
        if not worker._accepting:
            break
        for key, _ in worker.poller.select(0):
            key.data(key.fileobj)


def test_a_burst_is_left_to_the_others_when_all_threads_are_busy(worker, connect, clock):
    connect(8)
    accept_all(worker)
    assert worker.nr_conns == THREADS


def test_a_busy_worker_takes_another_after_the_head_start_and_one_at_a_time(worker, connect, clock):
    connect(8)
    for expected in itertools.accumulate([THREADS, 1, 1]):
        accept_all(worker)
        assert worker.nr_conns == expected
        clock.now += CONF["HEAD_START"]


def test_requests_on_open_connections_do_not_lengthen_the_head_start(worker, connect, clock):
    connect(3)
    accept_all(worker)
    for _ in range(5):
        clock.now += CONF["HEAD_START"] / 4
        worker.enqueue_req(SimpleNamespace())
    accept_all(worker)
    assert worker.nr_conns == THREADS + 1


def test_a_free_thread_takes_the_next_at_once(worker, connect, clock):
    connect(THREADS + 1)
    accept_all(worker)
    done = Future()
    done.set_result(False)
    worker.finish_request(SimpleNamespace(close=lambda graceful=False: None), done)
    accept_all(worker)
    assert worker.nr_conns == THREADS
    assert worker.requests == THREADS


REFUSED = {
    "a request line over the limit": (b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 8200), 414),
    "a method in lower case": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
    "a control character in a header": (b"GET / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: secret\x01\r\n\r\n", 400),
    "a header over the limit": (b"GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (b"x" * 9000), 431),
    "an unknown expectation": (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: secret\r\n\r\n", 417),
    "an unknown transfer coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: secret\r\n\r\n", 501),
    "no host": (b"GET /refuse HTTP/1.1\r\n\r\n", 400),
    "a header without a colon": (b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization Bearer secret\r\n\r\n", 400),
    "a body for a request line": (b'{"account_number":"secret: 1"}\r\n\r\n', 400),
}


# Refuses without a look at the body, reads it, says much, or fails.
APPLICATION = """
def app(environ, start):
    if environ["PATH_INFO"] == "/much":
        start("200 OK", [("Content-Length", "50000000")])
        return [b" " * 50_000_000]
    if environ["PATH_INFO"] == "/read":
        environ["wsgi.input"].read()
    elif environ["PATH_INFO"] != "/refuse":
        1 / 0
    start("401 Unauthorized", [("Content-Length", "0")])
    return []
"""


@contextmanager
def serving(folder, settings, *options):
    """Gunicorn before that application; its port, and the file of its log."""
    (folder / "nothing.py").write_text(APPLICATION)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", settings, "--bind", f"127.0.0.1:{port}", *options]
    with (log := folder / "log").open("wb") as stderr:
        process = subprocess.Popen([*command, "--pythonpath", str(folder), "nothing:app"], stderr=stderr)
    wait_for(lambda: answers(port), 20, "gunicorn answers")
    yield port, log
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("app"), "ops/gunicorn.conf.py") as found:
        yield found


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """One process with two threads, which waits twenty times less long; its port."""
    (folder := tmp_path_factory.mktemp("app")).joinpath("conf.py").write_text(
        Path("ops/gunicorn.conf.py")
        .read_text()
        .replace("ANSWER_SECONDS = 30.0, 10.0, 60.0", "ANSWER_SECONDS = 1.5, 0.5, 3.0")
    )
    with serving(folder, str(folder / "conf.py"), "--workers=1", "--threads=2") as (port, _):
        yield port


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_server_refuses_by_itself_is_a_problem_document_too(served, name):
    (request, status), (port, log) = REFUSED[name], served
    before = log.read_text()
    answer = ask(port, request)
    body = json.loads(answer.read())
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert (body["type"], body["status"], body["title"]) == ("about:blank", status, HTTPStatus(status).phrase)
    assert body["instance"] == f"urn:uuid:{answer.headers['X-Request-ID']}" and body["detail"]
    assert "secret" not in str(body) and "\x01" not in str(body)
    # Written before the answer.
    told = log.read_text().removeprefix(before)
    assert "Invalid request from ip=127.0.0.1: " in told and "secret" not in told


def test_a_failure_is_logged_with_its_path_and_without_its_query(served):
    port, log = served
    assert ask(port, b"GET /a/path?account_number=secret HTTP/1.1\r\nHost: a\r\n\r\n").status == 500
    told = log.read_text()
    assert "GET /a/path\n" in told and "ZeroDivisionError" in told and "account_number" not in told


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("size", [0, 300, 33_000, 70_000, 300_000])
@pytest.mark.parametrize("path", ["/read", "/refuse"])
def test_an_answer_that_keeps_the_connection_is_followed_by_the_next(served, path, size, in_chunks):
    """The next request, which is on its way already, is answered or was never to be sent."""
    length, body = (b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (size, b" " * size))
    if not in_chunks or not size:
        length, body = b"Content-Length: %d" % size, b" " * size
    request = b"POST %s HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s" % (path.encode(), length, body)
    with socket.create_connection(("127.0.0.1", served[0]), 10) as sock:
        sock.sendall(request + b"GET /refuse HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        said = b"".join(iter(lambda: sock.recv(65536), b""))
    kept = b"Connection: keep-alive" in said
    assert said.count(b"HTTP/1.1 401") == 1 + kept
    assert kept or (path == "/refuse" and (in_chunks or size > 32 * 1024))


@pytest.mark.parametrize(
    "begun", [b"G", b"GET / HTTP/1.1\r\nHos", b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"]
)
def test_clients_that_fall_silent_in_a_request_have_a_thread_for_a_while_and_not_for_good(impatient, begun):
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", impatient), 10)) for _ in range(4)]
        for sock in silent:
            sock.sendall(begun)
        assert ask(impatient, b"GET /refuse HTTP/1.1\r\nHost: a\r\n\r\n").status == 401
        # What they sent was no request, and gets no answer.
        assert [sock.recv(100) for sock in silent] == [b""] * 4


def test_clients_that_do_not_take_their_answers_have_a_thread_for_a_while(impatient):
    with ExitStack() as stack:
        for _ in range(4):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", impatient), 10))
            sock.sendall(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n")
        assert ask(impatient, b"GET /refuse HTTP/1.1\r\nHost: a\r\n\r\n").status == 401


def test_an_answer_may_take_longer_than_a_silence(impatient):
    with socket.create_connection(("127.0.0.1", impatient), 10) as sock:
        sock.sendall(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n")
        threading.Event().wait(1)
        received = 0
        while received < 50_000_000 and (part := sock.recv(1_000_000)):
            received += len(part)
    assert received >= 50_000_000


def test_a_client_that_goes_on_for_ever_is_ended_too(impatient):
    with socket.create_connection(("127.0.0.1", impatient), 10) as sock:
        sock.sendall(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n")
        sock.settimeout(0.1)
        for _ in range(100):
            try:
                if sock.recv(100) == b"":
                    break
            except TimeoutError:
                with suppress(ConnectionError):
                    sock.send(b" ")
            except ConnectionError:
                break
        else:
            raise AssertionError("still connected after ten seconds")


def test_a_client_that_is_slow_but_in_time_is_answered(impatient):
    with socket.create_connection(("127.0.0.1", impatient), 10) as sock:
        for part in (b"POST /read HTTP/1.1\r\n", b"Host: a\r\nContent-Length: 3\r\n\r\n", b"a", b"b", b"c"):
            sock.sendall(part)
            threading.Event().wait(0.1)
        assert sock.recv(100).startswith(b"HTTP/1.1 401")


def ask(port, request):
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(request)
        answer = HTTPResponse(sock)
        answer.begin()
        return answer
