"""Gunicorn for both web servers, Producer and Consumer; the address comes from the command line."""

import contextlib
import gc
import json
import os
import socket
import threading
import time
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.http.errors import InvalidHeader
from gunicorn.http.message import Request
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import ThreadWorker

# How long (seconds) a process whose threads are all busy leaves a new connection to the others. Shorter than a scheduler's
# turn: one process gets them all again; longer: all are busy, and a connection that anybody could have waits.
HEAD_START = 0.05


# What went wrong before the application saw a request. No word of the request is repeated.
REFUSALS = {
    400: "The request is not well-formed HTTP/1.1.",
    414: "The request line is too long.",
    417: "Of expectations the server knows 100-continue alone.",
    431: "The request has too many headers, or one of them is too long.",
    501: "The server knows no transfer coding but chunked.",
}


def write_problem(sock: Any, status: int, reason: str, message: str) -> None:
    """Gunicorn's own errors as problem documents (RFC 9457), like the application's; the log says what was wrong."""
    request_id = str(uuid.uuid4())
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if status in REFUSALS:
        problem["detail"] = REFUSALS[status]
    body = json.dumps({**problem, "instance": f"urn:uuid:{request_id}"}, separators=(",", ":"))
    lines = [
        f"HTTP/1.1 {status} {reason}",
        "Connection: close",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        f"X-Request-ID: {request_id}",
    ]
    util.write_nonblock(sock, ("\r\n".join([*lines, "", body])).encode("ascii"))


util.write_error = write_problem


# A body that was not read, since its request is refused, and is longer (bytes) ends the connection: Gunicorn reads twice as
# much away and then closes. Larger: the client is not told, and sends its next request into nothing.
LEFT_AT_MOST = 32 * 1024
asked_to_close = Request.should_close


def should_close(request: Any) -> bool:
    """Whether the answer says `Connection: close`: as asked for, and where the rest of the body is in the way of the next."""
    reader = getattr(request.body, "reader", None)
    # Of a body in chunks nobody knows how much is to come.
    left = getattr(reader, "length", 0) > LEFT_AT_MOST or getattr(reader, "parser", None) is not None
    return left or asked_to_close(request)


Request.should_close = should_close


# Seconds for a request to arrive in, in which a client may be silent in the midst of one, and for it to take the answer.
# Gunicorn itself waits for ever: a client whose network ends then has a thread for good, and eight of them had all. Shorter: a
# slow network cannot send a batch of 2 MiB, or get a page of a hundred transactions with all that belongs to them.
ARRIVAL_SECONDS, SILENCE_SECONDS, ANSWER_SECONDS = 30.0, 10.0, 60.0
arrival = threading.local()
receive = SocketUnreader.chunk


def receive_in_time(unreader: Any, size_hint: int | None = None) -> bytes:
    """The next bytes of a request. A client that takes too long has hung up, and is told so; what it sent was no request."""
    sock, before = unreader.sock, unreader.sock.gettimeout() or ANSWER_SECONDS
    left = getattr(arrival, "until", float("inf")) - time.monotonic()
    try:
        sock.settimeout(max(0.001, min(left, SILENCE_SECONDS, before)))
        data: bytes = receive(unreader, size_hint)
    except TimeoutError:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        return b""
    finally:
        # For who sends the answer.
        sock.settimeout(before)
    return data


SocketUnreader.chunk = receive_in_time


class DiscreetLogger(Logger):
    """Gunicorn's log, which says what is wrong with a request and repeats none of it: there are keys and account numbers in it.

    After a wrong Content-Length the rest of a body is taken for the next request's first line.
    """

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Of "Invalid request from ip=…: Invalid HTTP header: '…'" the quotation is left out."""
        if str(msg).startswith("Invalid request from"):
            msg = ": ".join(str(msg).split(": ")[:2])
        super().warning(msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Of an address the query is left out."""
        super().exception(msg, *[str(arg).partition("?")[0] for arg in args], **kwargs)


class SharingWorker(ThreadWorker):
    """gthread that shares: a burst of connections, which stay where they were accepted, does not all go to one process.

    Gunicorn's own accepts as fast as it can, so whichever process wakes first has them all, and the other cores idle.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.requests = 0
        self.accept_again_at = 0.0

    def handle(self, conn: Any) -> Any:
        """One request, in a thread; its time begins with its first bytes."""
        arrival.until = time.monotonic() + ARRIVAL_SECONDS
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """A request that names no host is none (RFC 9112 section 3.2): else the address of this server would be taken for it."""
        if req.version >= (1, 1) and not any(name == "HOST" for name, _ in req.headers):
            raise InvalidHeader("HOST", req=req)
        return super().handle_request(req, conn)

    def enqueue_req(self, conn: Any) -> None:
        """A request for a thread; when it took the last free one, the next connection is somebody else's for a moment."""
        super().enqueue_req(conn)
        self.requests += 1
        # Only where it accepts: each request would lengthen the moment, and while there are always some, nobody got in.
        if self.requests >= self.cfg.threads and self._accepting:
            self.accept_again_at = time.monotonic() + HEAD_START
            self.set_accept_enabled(False)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """A thread is free again."""
        self.requests -= 1
        super().finish_request(conn, fs)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Called before each wait for events while it is not as it should be."""
        if enabled and self.requests >= self.cfg.threads and time.monotonic() < self.accept_again_at:
            return
        super().set_accept_enabled(enabled)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """A head start ends although nothing else happens."""
        super().wait_for_and_dispatch_events(timeout if self._accepting or not self.alive else HEAD_START)


def post_worker_init(worker: Any) -> None:
    """What is loaded by now stays: the collector need not look through it for the few cycles that requests leave."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def number(name: str, default: int) -> int:
    """A setting that is a whole number from 1 up: with 0 processes the server would listen and answer nobody."""
    text = os.environ.get(name, "").strip()
    if text and not (text.isdecimal() and int(text)):
        raise SystemExit(f"{name} must be a whole number of at least 1, such as {default}.")
    return int(text or default)


# Processes = cores of a small machine. Threads keep a request that waits (a lock, a slow client) from blocking others.
worker_class = SharingWorker
workers = number("WEB_WORKERS", 2)
threads = number("WEB_THREADS", 4)

# Seconds. A worker that does not answer its master for so long is killed: above every deadline of a request.
timeout = 30
# Seconds for running requests after TERM. Keep the supervisor's own kill time above it.
graceful_timeout = 8
# Seconds an idle connection stays open. Keep it above the proxy's, or the proxy reuses one that is just closing.
keepalive = 75

# Requests after which a worker is replaced, so that no leak grows for ever; the jitter keeps two from going at a time.
max_requests = 50_000
max_requests_jitter = 5_000

# The line and the headers of a request; bodies are limited by the application, per route.
limit_request_line = 8190
limit_request_fields = 64
limit_request_field_size = 8190

# No access log: the application logs each request with its id. Errors go to standard error.
accesslog = None
errorlog = "-"
logger_class = DiscreetLogger
loglevel = os.environ.get("WEB_LOG_LEVEL") or "warning"

# Gunicorn's heartbeat file: in memory, since a slow disk would make a healthy worker look dead.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None

# Gunicorn 27 opens a control socket in the home folder: a second server of the same user would fight for it.
control_socket_disable = True
