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
    (b"[[], {}, {}]", {"task": "results.receive", "id": "x", "compression": "x"}, "application/json"),
    (b"[" * 100_000, {"task": "results.receive", "id": "x"}, "application/json"),
    (b'{"task": "results.receive", "id": "x", "args": [], "kwargs": {}}', {}, "application/json"),
    (b"[[], {}, {}]", {"task": "results.receive", "id": ["x"]}, "application/json"),
    (b"[[], {}, {}]", {"task": "results.receive", "id": "x" * 256}, "application/json"),
    (b"[[], {}, {}]", {"task": ["results.receive"], "id": "x"}, "application/json"),
]
# Processes that a message can hold, as in production; `solo` has none.
PREFORK = ("-P", "prefork", "-c", "2")
# The third part of a task's body: links to other tasks. Each held a process of the worker, or lost the message.
LINKS = [3, "x", None, [], {"chain": "y"}, {"callbacks": [{}]}, {"errbacks": "x"}, {"chord": {"x": 1}}]
# What Celery reads of a message's headers, and what it makes a worker do.
ODD_HEADERS = {
    name: ["x", -1, 10**15, [], {"x": 1}, [0.001, 0.001], "2099-01-01T00:00:00+00:00", "2001-01-01T00:00:00+00:00"]
    for name in (
        *("eta", "expires", "timelimit", "retries", "group", "group_index", "chord", "chain", "callbacks", "errbacks"),
        *("root_id", "parent_id", "reply_to", "shadow", "origin", "ignore_result", "stamps", "stamped_headers", "lang"),
        *("replaced_task_nesting", "argsrepr", "kwargsrepr", "properties", "delivery_info", "args", "utc"),
    )
}


def result_of(txn):
    """A signed result for it, as the arguments of the task."""
    data = {"transaction_id": txn["id"], "transaction_version": 1, "processed_data": {}}
    raw = json.dumps({"type": "transaction.succeeded", "timestamp": "2026-11-22T10:15:00Z", "data": data})
    webhook_id, now = f"msg_{uuid.uuid4()}", int(time.time())
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(load_key(SECRET), webhook_id, now, raw.encode()),
    }
    return {"headers": headers, "body": raw}


@pytest.fixture
def send(stack):
    """Puts a message into the Producer's result queue."""
    with kombu.Connection(stack.broker_url, transport_options={"confirm_publish": True}) as connection:
        producer = connection.Producer()

        def send(body, headers, content_type="application/json"):
            options = {"content_type": content_type, "content_encoding": "utf-8", "delivery_mode": 2}
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            producer.publish(
                body, routing_key="producer.results.v1", headers=headers, message_id=str(uuid.uuid4()), **options
            )

        yield send


def task(**headers):
    return {"task": "results.receive", "id": str(uuid.uuid4()), "lang": "py", **headers}


def dead_letters(stack):
    return stack.queue("producer.results.v1.dead")[1]


def test_junk_is_dead_lettered_and_the_next_good_result_is_applied(stack, send):
    stack.web(), stack.worker(pool=PREFORK), stack.beat()
    txn, other = stack.submit(2)
    before = dead_letters(stack)
    for body, headers, content_type in JUNK:
        send(body, headers, content_type)
    # More of each than the worker has processes.
    for link in LINKS * 3:
        send([[], {"headers": {}, "body": "{}"}, link], task())
        send([[], result_of(other), link], task())
    send([[], result_of(txn), {}], task())
    wait_for(lambda: stack.settled(1), 60, "the good result is applied")
    sent = len(JUNK) + 2 * 3 * len(LINKS)
    wait_for(lambda: dead_letters(stack) - before == sent, 30, "all junk is in the dead-letter queue")
    assert stack.queue("producer.results.v1") == ("quorum", 0)
    assert stack.processes["worker"].child.poll() is None, "the worker that read the junk still runs"
    assert stack.sql("SELECT count(*) FROM webhooks_inboxmessage") == [(1,)]


def test_no_header_delays_loses_or_holds_a_good_result(stack, send):
    stack.web(), stack.worker(pool=PREFORK), stack.beat()
    odd = [{name: value} for name, values in ODD_HEADERS.items() for value in values]
    txns, before = stack.submit(len(odd) + 1), dead_letters(stack)
    for headers, txn in zip(odd, txns, strict=False):
        send([[], result_of(txn), {}], task(**headers))
    # Arguments that the task does not have: Celery would fail it before it begins, and acknowledge.
    send([["x"], {**result_of(txns[-1]), "more": 1}, {}], task())
    wait_for(
        lambda: stack.settled(len(txns)),
        60,
        "all are applied",
    )
    wait_for(lambda: stack.queue("producer.results.v1") == ("quorum", 0), 10, "none of them waits")
    assert dead_letters(stack) == before
