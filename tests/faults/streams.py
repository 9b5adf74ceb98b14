"""Cuts two byte streams, AMQP 0-9-1 and PostgreSQL's protocol 3, into whole messages. Pure; for the proxy that cuts them."""

import re
import struct

_AMQP_HEADER = 8
_BASIC_PUBLISH = b"\x00\x3c\x00\x28"
_PG_PROTOCOL_3 = 196608


class AmqpUnits:
    """Client to broker: frames, but a basic.publish with its header and body as one unit."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._greeted = False

    def feed(self, data: bytes) -> list[bytes]:
        """Whole units that are complete now; the rest is kept."""
        self._buffer += data
        units = []
        if not self._greeted and len(self._buffer) >= _AMQP_HEADER:
            units.append(self._take(_AMQP_HEADER))
            self._greeted = True
        while self._greeted and (length := self._unit()):
            units.append(self._take(length))
        return units

    def rest(self) -> bytes:
        return bytes(self._buffer)

    def _take(self, length: int) -> bytes:
        unit = bytes(self._buffer[:length])
        del self._buffer[:length]
        return unit

    def _unit(self) -> int:
        length = self._frame(0)
        if not length or not is_publish(bytes(self._buffer[:length])):
            return length
        header = self._frame(length)
        if not header:
            return 0
        (left,) = struct.unpack_from(">Q", self._buffer, length + 7 + 4)
        length += header
        while left > 0:
            body = self._frame(length)
            if not body:
                return 0
            length += body
            left -= body - 8
        return length

    def _frame(self, start: int) -> int:
        if len(self._buffer) < start + 7:
            return 0
        (size,) = struct.unpack_from(">I", self._buffer, start + 3)
        return size + 8 if len(self._buffer) >= start + size + 8 else 0


def is_publish(unit: bytes) -> bool:
    return unit[:1] == b"\x01" and unit[7:11] == _BASIC_PUBLISH


def publishes_an_event(unit: bytes) -> bool:
    """Not the greeting of a probe, which is empty, not a task: an event to the exchange."""
    if not is_publish(unit) or b"\x0ctransactions" not in unit[:64]:
        return False
    (method,) = struct.unpack_from(">I", unit, 3)
    (body,) = struct.unpack_from(">Q", unit, method + 8 + 7 + 4)
    return bool(body)


def frame_boundaries(unit: bytes) -> list[int]:
    """Each boundary between two frames of the unit, one byte before and one after it."""
    places, at = {0, 1}, 0
    while at < len(unit):
        (size,) = struct.unpack_from(">I", unit, at + 3)
        at += size + 8
        places |= {at - 1, at, at + 1}
    return sorted(place for place in places if place <= len(unit))


class PostgresMessages:
    """Client to server: the untyped messages of the start, then type, length, payload."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._started = False

    def feed(self, data: bytes) -> list[bytes]:
        """Whole messages that are complete now; the rest is kept."""
        self._buffer += data
        messages = []
        while (length := self._length()) and len(self._buffer) >= length:
            message = bytes(self._buffer[:length])
            del self._buffer[:length]
            if not self._started:
                # SSLRequest, GSSENCRequest and CancelRequest have other codes.
                self._started = struct.unpack_from(">I", message, 4)[0] == _PG_PROTOCOL_3
            messages.append(message)
        return messages

    def rest(self) -> bytes:
        return bytes(self._buffer)

    def _length(self) -> int:
        offset = 1 if self._started else 0
        if len(self._buffer) < offset + 4:
            return 0
        return int(struct.unpack_from(">I", self._buffer, offset)[0]) + offset


# A call of one of the product's own functions, which is a transaction of its own: create, claim, settle.
_OWN_FUNCTION = re.compile(rb"SELECT (?:\* FROM )?(\w+)_v\d+\(")


def commit_kind(message: bytes) -> str:
    """COMMIT, the function, or the verb of a statement that commits by itself; nothing for one that changes nothing."""
    if message[:1] != b"Q":
        return ""
    text = message[5:2000].lstrip()
    if call := _OWN_FUNCTION.match(text):
        return call[1].decode()
    verb = text[:6].upper()
    found = next((each for each in (b"COMMIT", b"INSERT", b"WITH") if verb.startswith(each)), b"")
    return found.decode() if b"PG_" not in text[:200].upper() else ""


def commits(message: bytes) -> bool:
    return bool(commit_kind(message))


def every_offset(message: bytes) -> list[int]:
    """Every byte of a short message; of a long one its ends, where it makes a difference."""
    if len(message) <= 32:
        return list(range(len(message) + 1))
    ends = {0, 1, 4, 5, 6, len(message) // 2}
    return sorted(ends | {len(message) - back for back in range(3)})


# basic.ack is a frame of 7 + 13 + 1 bytes.
IN_A_CONFIRM = range(22)
# CommandComplete of a COMMIT and ReadyForQuery: 18 bytes, each of them. A statement that returns rows has a longer
# answer: between its messages libpq fails in other ways than at the start.
IN_AN_ANSWER = [*range(19), *range(20, 400, 9)]
