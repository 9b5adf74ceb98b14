"""Listening sockets for the demo's web servers, bound before anything starts so that no other program can take them."""

import socket

HOST = "127.0.0.1"
BACKLOG = 256


def listen(preferred: int) -> socket.socket:
    """A listening socket on the preferred port, or on one that the system picks when that is taken.

    The socket itself is handed to gunicorn (`--bind fd://N`). Choosing a number and binding later would leave
    seconds (the migrations) in which a second demo in another clone picks the same port.
    """
    for port in (preferred, 0):
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
            candidate.listen(BACKLOG)
        except OSError:
            candidate.close()
            if port == 0:
                raise
        else:
            return candidate
    raise AssertionError("unreachable: port 0 either binds or raises")


def url(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"
