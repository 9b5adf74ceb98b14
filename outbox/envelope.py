"""Event -> CloudEvents bytes (once, at enqueue) and row -> wire message (at each attempt); pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, NamedTuple, NewType
from uuid import UUID

from outbox.ids import time_of

JSON_CONTENT_TYPE = "application/json"
CLOUDEVENTS_CONTENT_TYPE = "application/cloudevents+json"
# NaN and Infinity are no JSON: refused at enqueue, where the caller can still do something about it.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
# A string as JSON, as `_ENCODER` writes it.
_quoted = encode_basestring
# A value as the text of its JSON, from who has that already.
JsonText = NewType("JsonText", str)
# Celery protocol 2: no callbacks, errbacks, chain or chord.
_CELERY_EMBED = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'


# Tuples, since there is one of each for every event: a frozen dataclass takes four times as long to make.
class StoredEvent(NamedTuple):
    """What the relay reads of a row; `body` is the CloudEvent as JSON text."""

    id: UUID
    topic: str
    type: str
    key: str
    sequence: int
    body: str
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True, eq=False)
class SharedHeaders:
    """Headers that all events of one type and route have. One object each, so that a channel can keep its encoding."""

    values: Mapping[str, str | int | None]


class Message(NamedTuple):
    """What goes on the wire; `exchange` and `routing_key` name the place, for channels that have such places."""

    id: UUID
    exchange: str
    routing_key: str
    body: bytes
    content_type: str
    own_headers: Mapping[str, str]
    shared_headers: SharedHeaders
    type: str
    key: str
    timestamp: int

    @property
    def headers(self) -> dict[str, str | int | None]:
        """All of them."""
        return {**self.own_headers, **self.shared_headers.values}


def rfc3339(moment: datetime) -> str:
    """`moment` in UTC with `Z` and microseconds (RFC 3339 section 5.6)."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def head(
    *,
    event_id: UUID,
    source: str,
    event_type: str,
    key: str,
    sequence: int,
    time: datetime,
    traceparent: str | None,
    correlation_id: str | None = None,
) -> str:
    """A CloudEvent (1.0, structured JSON) as text up to its data; `sequence` zero-padded to 20 so that it sorts as a string.

    After the data only `}` is missing. A template, because a batch has a thousand of them and the encoder is slow at that.
    """
    subject = _quoted(key)
    trace = f',"traceparent":{_quoted(traceparent)}' if traceparent else ""
    correlation = f',"correlationid":{_quoted(correlation_id)}' if correlation_id else ""
    return (
        f'{{"specversion":"1.0","id":"{event_id}","source":{_quoted(source)},"type":{_quoted(event_type)},'
        f'"subject":{subject},"time":"{rfc3339(time)}","datacontenttype":"{JSON_CONTENT_TYPE}",'
        f'"sequence":"{sequence:020d}","partitionkey":{subject}{trace}{correlation},"data":'
    )


def as_json(data: Mapping[str, Any] | JsonText) -> str:
    """The text of an event's data. Raises ValueError or TypeError for what JSON has not."""
    return data if isinstance(data, str) else _ENCODER.encode(data)


def wrap(event: StoredEvent, route: Mapping[str, str], source: str) -> Message:
    """The wire message of one row for one route. The CloudEvent's bytes are embedded as they are, never re-serialised.

    Wire format `celery`: Celery protocol 2, task id = event id. Wire format `cloudevents`: the JSON as body.
    """
    event_id = str(event.id)
    headers = {
        "cloudEvents_id": event_id,
        "cloudEvents_subject": event.key,
        "cloudEvents_time": rfc3339(time_of(event.id)),
    }
    if route["wire_format"] == "celery":
        headers["id"] = headers["root_id"] = event_id
        shared = _celery_headers(source, event.type, route["task"])
        body = f'[[], {{"event": {event.body}}}, {_CELERY_EMBED}]'.encode()
        content_type = JSON_CONTENT_TYPE
    else:
        shared = _cloud_event_headers(source, event.type)
        body = event.body.encode()
        content_type = CLOUDEVENTS_CONTENT_TYPE
    return Message(
        id=event.id,
        exchange=route["exchange"],
        routing_key=event.type,
        body=body,
        content_type=content_type,
        own_headers=headers,
        shared_headers=shared,
        type=event.type,
        key=event.key,
        timestamp=int(event.created_at.timestamp()),
    )


@lru_cache(maxsize=256)
def _cloud_event_headers(source: str, event_type: str) -> SharedHeaders:
    return SharedHeaders(
        {"cloudEvents_source": source, "cloudEvents_type": event_type, "cloudEvents_specversion": "1.0"}
    )


@lru_cache(maxsize=256)
def _celery_headers(source: str, event_type: str, task: str) -> SharedHeaders:
    return SharedHeaders(
        {
            **_cloud_event_headers(source, event_type).values,
            "lang": "py",
            "task": task,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            # Celery logs and stores these two; the event itself stays out of both.
            "argsrepr": "()",
            "kwargsrepr": "{}",
        }
    )
