"""Sends what was sent before once more: events into the Consumer's queue, results to the Producer's webhook."""

import base64
import hashlib
import hmac
import json
import sqlite3
import time
import uuid

import kombu
import requests

from tests.stack import SECRET

QUEUE = "consumer.transactions.v1"


def sign(webhook_id: str, body: str, at: int | None = None) -> dict[str, str]:
    """Standard Webhooks, v1."""
    stamp = int(time.time()) if at is None else at
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signature = hmac.new(key, f"{webhook_id}.{stamp}.{body}".encode(), hashlib.sha256).digest()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(stamp),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        "Content-Type": "application/json",
    }


def post_result(stack, webhook_id: str, body: str, at: int | None = None) -> int:
    answer = requests.post(
        f"{stack.url}/api/v1/webhooks/results", data=body.encode(), headers=sign(webhook_id, body, at), timeout=20
    )
    return answer.status_code


def result(transaction_id: str, version: int, kind: str = "succeeded") -> str:
    data: dict = {"transaction_id": transaction_id, "transaction_version": version}
    if kind == "succeeded":
        data["processed_data"] = {}
    if kind == "failed":
        data["error"] = {"code": "fault", "message": "By the fault matrix."}
    return json.dumps({"type": f"transaction.{kind}", "timestamp": "2026-11-20T12:00:00Z", "data": data})


def sent_results(stack) -> list[tuple[str, str]]:
    """Each result that the Consumer has decided, as it was or will be sent."""
    consumer = sqlite3.connect(f"file:{stack.folder / 'consumer.sqlite3'}?mode=ro", uri=True, timeout=20)
    try:
        return consumer.execute("SELECT webhook_id, body FROM consumer_result").fetchall()
    finally:
        consumer.close()


def repeat_events(broker_url: str, stack, copies: int, rng) -> int:
    """Puts copies of the newest events into the Consumer's queue, in any order, beside the exchange and so beside the tap."""
    rows = stack.sql(
        "SELECT id::text, body FROM outbox_outboxmessage WHERE state = 'published' ORDER BY id DESC LIMIT 150"
    )
    messages = [row for row in rows for _ in range(copies)]
    rng.shuffle(messages)
    with kombu.Connection(broker_url) as connection, connection.channel() as channel:
        producer = kombu.Producer(channel, serializer="json")
        for event_id, body in messages:
            producer.publish(
                [[], {"event": json.loads(body)}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}],
                routing_key=QUEUE,
                headers={"task": "consumer.process_transaction", "id": event_id, "lang": "py", "root_id": event_id},
                correlation_id=event_id,
                message_id=event_id,
                delivery_mode=2,
            )
    return len(messages)


def unknown_id() -> str:
    return str(uuid.uuid4())
