"""The AsyncAPI 3.1 document of both directions, and the stand-alone JSON Schemas of the messages."""

import json
from typing import Any

from producer import openapi_schemas
from producer.openapi import API_VERSION
from producer.openapi_fields import Schema
from producer.openapi_messages import EVENT_TYPES

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
# RabbitMQ's names, from contract section 3; a test compares them with the settings that declare them.
EXCHANGE = "transactions"
EVENT_QUEUE = "consumer.transactions.v1"
EVENT_TASK = "consumer.process_transaction"
RESULT_QUEUE = "producer.results.v1"
RESULT_TASK = "results.receive"
RESULT_PATH = "/api/v1/webhooks/results"

_TEXT: Schema = {"type": "string"}
_SIGNED: Schema = {
    "type": "object",
    "properties": {
        "webhook-id": {"type": "string", "pattern": "^[!-\\-/-~]{1,255}$"},
        "webhook-timestamp": {"type": "string", "pattern": "^[0-9]{1,12}$"},
        "webhook-signature": {"type": "string", "pattern": "^v1a?,"},
    },
    "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
}
_CLOUDEVENTS_HEADERS: dict[str, Schema] = {
    "cloudEvents_id": _TEXT,
    "cloudEvents_source": _TEXT,
    "cloudEvents_type": {"type": "string", "enum": EVENT_TYPES},
    "cloudEvents_specversion": {"const": "1.0"},
    "cloudEvents_subject": _TEXT,
    "cloudEvents_time": {"type": "string", "format": "date-time"},
}
_CELERY_HEADERS: dict[str, Schema] = {
    "lang": {"const": "py"},
    "task": {"const": EVENT_TASK},
    "id": {"type": "string", "description": "The event's id."},
    "root_id": _TEXT,
    "parent_id": {"type": "null"},
    "group": {"type": "null"},
    "retries": {"type": "integer"},
    "eta": {"type": "null"},
    "expires": {"type": "null"},
    "argsrepr": _TEXT,
    "kwargsrepr": _TEXT,
}


def event_schema() -> Schema:
    """The CloudEvent, stand-alone."""
    return _standalone("event", "Event")


def result_schema() -> Schema:
    """What the Consumer sends, stand-alone."""
    return _standalone("result", "Result")


def celery_event_schema() -> Schema:
    """The event as the body of a Celery message (protocol 2): args, kwargs, embed."""
    embed = {name: {"type": "null"} for name in ("callbacks", "errbacks", "chain", "chord")}
    event: Schema = {"$ref": "event.schema.json"}
    kwargs: Schema = {"type": "object", "properties": {"event": event}, "required": ["event"]}
    return {
        "$schema": _DIALECT,
        "$id": "celery-event.schema.json",
        "title": f"Body of the Celery task {EVENT_TASK}",
        "type": "array",
        "prefixItems": [{"type": "array", "maxItems": 0}, kwargs, {"type": "object", "properties": embed}],
        "minItems": 3,
        "items": False,
    }


def celery_result_schema() -> Schema:
    """The keyword arguments of the task that carries a result."""
    return {
        "$schema": _DIALECT,
        "$id": "celery-result.schema.json",
        "title": f"Keyword arguments of the Celery task {RESULT_TASK}",
        "type": "object",
        "properties": {
            "headers": _SIGNED,
            "body": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": "result.schema.json"},
                "description": "The raw JSON that was signed, as one string.",
            },
        },
        "required": ["headers", "body"],
    }


def _standalone(name: str, component: str) -> Schema:
    """The component with what it refers to as `$defs`, so that the file stands alone."""
    everything = openapi_schemas.schemas()
    needed: dict[str, Schema] = {}
    waiting = [component]
    while waiting:
        wanted = waiting.pop()
        needed[wanted] = everything[wanted]
        text = json.dumps(everything[wanted])
        waiting += [other for other in everything if f'"#/components/schemas/{other}"' in text and other not in needed]
    moved: dict[str, Schema] = json.loads(json.dumps(needed).replace("#/components/schemas/", "#/$defs/"))
    own = moved.pop(component)
    schema = {"$schema": _DIALECT, "$id": f"{name}.schema.json", "title": component, **own}
    return schema | ({"$defs": dict(sorted(moved.items()))} if moved else {})


def _message(name: str, title: str, content_type: str, schema_file: str, headers: Schema) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "contentType": content_type,
        "headers": {"schemaFormat": _SCHEMA_FORMAT, "schema": headers},
        "payload": {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": f"./contract/{schema_file}"}},
    }


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _operation(action: str, channel: str, summary: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary, **more}


def asyncapi() -> dict[str, Any]:
    """The document, from the Producer's side: it sends events and receives results."""
    amqp_version = {"bindingVersion": "0.3.0"}
    quorum = {"durable": True, "exclusive": False, "autoDelete": False}
    http_post = {"http": {"method": "POST", "bindingVersion": "0.3.0"}}
    event_id = {"correlationId": {"location": "$message.header#/cloudEvents_id", "description": "The event's id."}}
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Producer App: messages",
            "version": API_VERSION,
            "description": "Events go to the Consumer at least once, in order per transaction; one id on every channel, "
            "so a copy that comes twice is one event. Results come back through either door, signed by Standard "
            "Webhooks, and change a transaction once.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {"host": "rabbitmq:5672", "protocol": "amqp", "protocolVersion": "0.9.1"},
            "consumer": {"host": "consumer.example", "protocol": "https", "description": "CONSUMER_WEBHOOK_URL."},
            "producer": {"host": "127.0.0.1:8000", "protocol": "http", "description": "PUBLIC_URL."},
        },
        "channels": {
            "events": {
                "address": "transaction.{change}",
                "description": f"First choice. Queue `{EVENT_QUEUE}` is bound by `transaction.#`: quorum, delivery limit 20, "
                f"dead letters in `{EVENT_QUEUE}.dead`. One wire format per route, never both in one queue: Celery "
                "(default) or CloudEvents.",
                "servers": [{"$ref": "#/servers/broker"}],
                "parameters": {
                    "change": {"enum": [event_type.split(".")[1] for event_type in EVENT_TYPES]},
                },
                "messages": {
                    "celeryEvent": {"$ref": "#/components/messages/celeryEvent"},
                    "cloudEvent": {"$ref": "#/components/messages/cloudEvent"},
                },
                "bindings": {
                    "amqp": {
                        "is": "routingKey",
                        "exchange": {"name": EXCHANGE, "type": "topic", "durable": True, "autoDelete": False},
                        **amqp_version,
                    }
                },
            },
            "fallback": {
                "address": "/",
                "description": "While the broker takes no events: the same bytes by POST to CONSUMER_WEBHOOK_URL. 2xx only "
                "is success, no redirects, 410 stops, Retry-After is honoured within reason.",
                "servers": [{"$ref": "#/servers/consumer"}],
                "messages": {"postedEvent": {"$ref": "#/components/messages/postedEvent"}},
            },
            "resultQueue": {
                "address": RESULT_QUEUE,
                "description": f"Second door: the Celery task `{RESULT_TASK}`. The signature is checked, its age is not.",
                "servers": [{"$ref": "#/servers/broker"}],
                "messages": {"resultTask": {"$ref": "#/components/messages/resultTask"}},
                "bindings": {"amqp": {"is": "queue", "queue": {"name": RESULT_QUEUE, **quorum}, **amqp_version}},
            },
            "resultWebhook": {
                "address": RESULT_PATH,
                "description": "First door: see the OpenAPI document for its answers.",
                "servers": [{"$ref": "#/servers/producer"}],
                "messages": {"postedResult": {"$ref": "#/components/messages/postedResult"}},
            },
        },
        "operations": {
            "sendEvent": _operation(
                "send",
                "events",
                "Persistent, mandatory, with publisher confirms: what is not confirmed is sent again.",
                bindings={"amqp": {"deliveryMode": 2, "mandatory": True, "timestamp": True, **amqp_version}},
            ),
            "postEvent": _operation("send", "fallback", "The fallback.", bindings=http_post),
            "receiveResultTask": _operation(
                "receive", "resultQueue", "A result by the queue.", bindings={"amqp": {"ack": True, **amqp_version}}
            ),
            "receiveResultPost": _operation("receive", "resultWebhook", "A result by HTTP.", bindings=http_post),
        },
        "components": {
            "messages": {
                "celeryEvent": _message(
                    "celeryEvent",
                    f"The event as the Celery task {EVENT_TASK}",
                    "application/json",
                    "celery-event.schema.json",
                    _object(_CLOUDEVENTS_HEADERS | _CELERY_HEADERS),
                )
                | event_id,
                "cloudEvent": _message(
                    "cloudEvent",
                    "The event as a CloudEvent",
                    "application/cloudevents+json",
                    "event.schema.json",
                    _object(_CLOUDEVENTS_HEADERS),
                )
                | event_id,
                "postedEvent": _message(
                    "postedEvent", "The event by POST", "application/cloudevents+json", "event.schema.json", _SIGNED
                ),
                "resultTask": _message(
                    "resultTask",
                    f"A result as the Celery task {RESULT_TASK}",
                    "application/json",
                    "celery-result.schema.json",
                    _object({"task": {"const": RESULT_TASK}, "id": _TEXT}),
                ),
                "postedResult": _message(
                    "postedResult", "A result by POST", "application/json", "result.schema.json", _SIGNED
                ),
            }
        },
    }


def message_schemas() -> dict[str, Schema]:
    """File name under docs/contract/ -> schema."""
    found = (event_schema(), result_schema(), celery_event_schema(), celery_result_schema())
    return {str(schema["$id"]): schema for schema in found}
