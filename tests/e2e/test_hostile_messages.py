"""Junk in the Producer's result queue: dead-lettered, and the worker goes on."""

import json
import time
import uuid

import kombu
import pytest

from tests.stack import SECRET, wait_for
from webhooks.signing import sign
from webhooks.signing_keys import load_key

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(180)]

JUNK = [
    (b"not json", {}, "application/json"),
    (b"\xff\xfe", {"task": "results.receive", "id": "x"}, "application/json"),
    (b"{}", {"task": "results.receive", "id": "x"}, "application/json"),
    (b'{"specversion": "1.0"}', {}, "application/cloudevents+json"),
    (b"[[], {}, {}]", {"task": "no.such.task", "id": "x"}, "application/json"),
    (b"[[], {}]", {"task": "results.receive", "id": "x"}, "application/json"),
    (b"gASVBQAAAAAAAABdlC4=", {"task": "results.receive", "id": "x"}, "application/x-python-serialize"),
    (
        json.dumps([[], {"headers": {}, "body": "{}"}, {}]).encode(),
        {"task": "results.receive", "id": "x"},
        "application/json",
    ),
]


def test_junk_is_dead_lettered_and_the_next_good_result_is_applied(stack):
    stack.web(), stack.worker(), stack.beat()
    (txn,) = stack.submit(1)
    raw = json.dumps(
        {
            "type": "transaction.succeeded",
            "timestamp": "2026-11-22T10:15:00Z",
            "data": {"transaction_id": txn["id"], "transaction_version": 1, "processed_data": {}},
        }
    )
    now = int(time.time())
    signed = {
        "webhook-id": "msg_q",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(load_key(SECRET), "msg_q", now, raw.encode()),
    }
    with kombu.Connection(stack.broker_url, transport_options={"confirm_publish": True}) as connection:
        producer = connection.Producer()
        for body, headers, content_type in JUNK:
            options = {"content_type": content_type, "content_encoding": "utf-8", "delivery_mode": 2}
            producer.publish(
                body, routing_key="producer.results.v1", headers=headers, message_id=str(uuid.uuid4()), **options
            )
        task = {"task": "results.receive", "id": str(uuid.uuid4()), "lang": "py"}
        good = json.dumps([[], {"headers": signed, "body": raw}, {}]).encode()
        producer.publish(
            good,
            routing_key="producer.results.v1",
            headers=task,
            content_type="application/json",
            content_encoding="utf-8",
        )
    wait_for(lambda: stack.settled(1), 60, "the good result is applied")
    wait_for(
        lambda: stack.queue("producer.results.v1.dead")[1] == len(JUNK), 30, "all junk is in the dead-letter queue"
    )
    assert stack.queue("producer.results.v1") == ("quorum", 0)
    assert stack.processes["worker"].child.poll() is None, "the worker that read the junk still runs"
    assert stack.sql("SELECT count(*) FROM webhooks_inboxmessage") == [(1,)]
