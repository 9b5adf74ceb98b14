"""Our frames are what py-amqp would have written."""

import uuid
from types import SimpleNamespace

import amqp
import pytest
from amqp import spec
from amqp.method_framing import frame_handler
from amqp.serialization import loads

from outbox.envelope import Message, SharedHeaders
from outbox.frames import publish_frames


def message(**changes):
    fields = {
        "id": uuid.UUID(int=7),
        "exchange": "transactions",
        "routing_key": "transaction.created",
        "body": b"{}",
        "content_type": "application/json",
        "own_headers": {"unicode": "Zürich"},
        "shared_headers": SharedHeaders({"task": "t", "n": 3, "none": None}),
        "type": "transaction.created",
        "key": "k",
        "timestamp": 1_800_000_000,
    }
    return Message(**fields | changes)


def read(frames, channel=5):
    """What py-amqp's own reader makes of the bytes."""
    found = []
    handle = frame_handler(SimpleNamespace(bytes_recv=0), lambda *args: found.append(args), content_methods={(60, 40)})
    sizes = []
    while frames:
        kind, number, size = frames[0], int.from_bytes(frames[1:3], "big"), int.from_bytes(frames[3:7], "big")
        assert (number, frames[7 + size]) == (channel, 0xCE)
        sizes.append(size + 8)
        handle((kind, number, frames[7 : 7 + size]))
        frames = frames[8 + size :]
    ((_, method, arguments, content),) = found
    return method, arguments, content, sizes


def test_py_amqp_reads_back_what_was_sent():
    method, arguments, content, _ = read(publish_frames(message(), 5, 131072))
    assert method == spec.Basic.Publish
    (_, exchange, routing_key, mandatory, immediate), _ = loads("Bssbb", arguments, 4)
    assert (exchange, routing_key, mandatory, immediate) == ("transactions", "transaction.created", True, False)
    assert content.body == b"{}"
    assert content.properties == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "application_headers": {"task": "t", "n": 3, "none": None, "unicode": "Zürich"},
        "delivery_mode": 2,
        "correlation_id": str(uuid.UUID(int=7)),
        "message_id": str(uuid.UUID(int=7)),
        "timestamp": 1_800_000_000,
        "type": "transaction.created",
        "app_id": "producer",
    }


def test_the_properties_are_the_bytes_that_py_amqp_writes():
    headers = {"task": "t", "none": None}
    theirs = amqp.Message(
        content_type="application/json",
        content_encoding="utf-8",
        application_headers=headers,
        delivery_mode=2,
        correlation_id=str(uuid.UUID(int=7)),
        message_id=str(uuid.UUID(int=7)),
        timestamp=1_800_000_000,
        type="transaction.created",
        app_id="producer",
    )._serialize_properties()
    assert theirs in publish_frames(message(own_headers={}, shared_headers=SharedHeaders(headers)), 5, 131072)


@pytest.mark.parametrize("size", [0, 1, 4087, 4088, 4089, 8176, 8177, 70_000])
def test_a_body_of_any_size_is_cut_to_the_frame_limit_and_whole_again(size):
    body = bytes(index % 251 for index in range(size))
    _, _, content, sizes = read(publish_frames(message(body=body), 5, 4096))
    assert (content.body or b"") == body
    assert max(sizes) <= 4096


def test_what_amqp_cannot_carry_is_a_value_error():
    publish_frames(message(routing_key="x" * 255), 5, 131072)
    with pytest.raises(ValueError):
        publish_frames(message(routing_key="é" * 128), 5, 131072)
