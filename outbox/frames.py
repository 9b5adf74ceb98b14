"""Wire message -> the bytes of its AMQP 0-9-1 frames; pure.

py-amqp builds these too, at twice the cost of all else that happens to an event: it serialises each message into one
system call. Here a batch becomes one buffer, and what does not change from event to event is encoded once.
"""

from functools import lru_cache
from struct import Struct, pack

from outbox.envelope import Message, SharedHeaders

# Frame types and end octet (AMQP 0-9-1 section 4.2), class and method of basic.publish.
_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_BASIC, _PUBLISH = 60, 40
_MANDATORY = 1
# content-type, content-encoding, headers, delivery-mode, correlation-id, message-id, timestamp, type, app-id
_FLAGS = 0x8000 | 0x4000 | 0x2000 | 0x1000 | 0x0400 | 0x0080 | 0x0040 | 0x0020 | 0x0008
_PERSISTENT = b"\x02"
_FRAME_OVERHEAD = 8
_LONG, _LONG_LONG = Struct(">I").pack, Struct(">Q").pack
_FRAME_HEADER, _CONTENT_HEADER = Struct(">BHI").pack, Struct(">BHIHHQH").pack


def publish_frames(message: Message, channel: int, frame_max: int) -> bytes:
    """basic.publish of `message`, mandatory and persistent. Raises ValueError for what AMQP cannot carry."""
    message_id = _short(str(message.id))
    table = _shared_fields(message.shared_headers)
    for name, text in message.own_headers.items():
        encoded = text.encode()
        table += _name_of_text(name) + _LONG(len(encoded)) + encoded
    properties = b"".join(
        (
            _constant_properties(message.content_type),
            _LONG(len(table)),
            table,
            _PERSISTENT,
            message_id,
            message_id,
            _LONG_LONG(message.timestamp),
            _constant_short(message.type),
            _constant_short("producer"),
        )
    )
    body, room = message.body, frame_max - _FRAME_OVERHEAD
    header = _CONTENT_HEADER(_HEADER, channel, 14 + len(properties), _BASIC, 0, len(body), _FLAGS)
    parts = [_method(channel, message.exchange, message.routing_key), header, properties, _END]
    for start in range(0, len(body), room):
        chunk = body[start : start + room]
        parts += (_FRAME_HEADER(_BODY, channel, len(chunk)), chunk, _END)
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _method(channel: int, exchange: str, routing_key: str) -> bytes:
    payload = pack(">HHH", _BASIC, _PUBLISH, 0) + _short(exchange) + _short(routing_key) + pack(">B", _MANDATORY)
    return _FRAME_HEADER(_METHOD, channel, len(payload)) + payload + _END


@lru_cache(maxsize=64)
def _constant_properties(content_type: str) -> bytes:
    return _short(content_type) + _short("utf-8")


@lru_cache(maxsize=256)
def _shared_fields(headers: SharedHeaders) -> bytes:
    return b"".join([_field(name, value) for name, value in headers.values.items()])


def _field(name: str, value: str | int | None) -> bytes:
    if isinstance(value, str):
        encoded = value.encode()
        return _name_of_text(name) + _LONG(len(encoded)) + encoded
    return _short(name) + (b"V" if value is None else b"l" + pack(">q", value))


@lru_cache(maxsize=1024)
def _name_of_text(name: str) -> bytes:
    return _short(name) + b"S"


@lru_cache(maxsize=1024)
def _constant_short(text: str) -> bytes:
    return _short(text)


def _short(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > 255:
        raise ValueError(f"AMQP takes at most 255 bytes for a name or key, not {len(encoded)}.")
    return pack(">B", len(encoded)) + encoded
