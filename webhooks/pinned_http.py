"""HTTP/1.1 to an address that was checked, not to a name: a second look-up cannot lead elsewhere.

http.client by itself follows no redirect and reads no proxy from the environment; the name still goes into Host, SNI and
the certificate check.
"""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from webhooks.ssrf import ParsedTarget, UnsafeUrlError, check_addresses

# Bytes of an answer that are read at most, and for how long (seconds): only its status counts, the rest is courtesy.
MAX_ANSWER_BYTES = 4096
DRAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the one header that matters; what the body says is nobody's business here."""

    status: int
    retry_after: str | None


def resolve(target: ParsedTarget, allowed_networks: Sequence[str]) -> list[str]:
    """The addresses of the target's name, every one of them checked. Blocks for as long as the resolver likes.

    Raises OSError when the name is unknown, UnsafeUrlError when any address is one that we must not connect to.
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise UnsafeUrlError("not a valid host name") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    check_addresses(addresses, allowed_networks, scheme=target.scheme)
    return addresses


class PinnedConnection(http.client.HTTPConnection):
    """A keep-alive connection to one of `addresses`, with the target's name in everything that the other side sees."""

    def __init__(self, target: ParsedTarget, addresses: Sequence[str], context: ssl.SSLContext | None) -> None:
        super().__init__(target.host, target.port)
        # Leaves the port out of Host where it is the scheme's own.
        self.default_port = 443 if context else 80
        self._addresses = addresses
        self._context = context
        self._connect_seconds = 0.0

    def connect(self) -> None:
        """Tries the pinned addresses in turn until one answers, all of them within the connect timeout of post()."""
        until = time.monotonic() + self._connect_seconds
        for position, address in enumerate(self._addresses):
            try:
                self._connect_to(address, max(0.05, until - time.monotonic()))
                return
            except OSError:
                self.close()
                if position == len(self._addresses) - 1 or time.monotonic() >= until:
                    raise

    def _connect_to(self, address: str, seconds: float) -> None:
        self.sock = socket.create_connection((address, self.port), seconds)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            # The handshake comes after `sock` is set, so that abort() reaches a peer who stalls in it.
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock.do_handshake()

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], *, connect_seconds: float, read_seconds: float
    ) -> Answer:
        """One POST, on the open connection or a new one. Raises OSError or http.client.HTTPException."""
        self._connect_seconds = connect_seconds
        if self.sock is None:
            self.connect()
        self.sock.settimeout(read_seconds)
        self.request("POST", path, body, dict(headers))
        response = self.getresponse()
        answer = Answer(response.status, response.getheader("Retry-After"))
        self._drain(response)
        return answer

    def _drain(self, response: http.client.HTTPResponse) -> None:
        """Reads a short answer to its end, so that the connection can be used again; any other closes it."""
        try:
            if self.sock is not None:
                self.sock.settimeout(DRAIN_SECONDS)
                response.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException):
            self.close()
        if not response.isclosed():
            response.close()
            self.close()

    def abort(self) -> None:
        """Wakes whoever waits on this connection in another thread; nothing more comes or goes on it."""
        sock = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown, which takes the TLS layer away from under the other thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
