"""Separate processes, real PostgreSQL, real RabbitMQ: submit, outbox, broker, Consumer, signed result, applied."""

import json

import kombu
import pytest

from tests.stack import ROOT, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(180)]


def drain(stack, queue, expected):
    """What a plain AMQP client reads, acknowledged."""
    messages = []
    with kombu.Connection(stack.broker_url) as connection, connection.channel() as channel:
        while len(messages) < expected:
            message = channel.basic_get(queue)
            if message is None:
                break
            messages.append((message.properties, message.headers, message.body))
            channel.basic_ack(message.delivery_tag)
    return messages


def test_200_transactions_go_round_and_each_result_counts_once(stack):
    stack.web(), stack.worker(), stack.beat(), stack.relay(), stack.consumer_web(), stack.consumer_worker()
    created = stack.submit(200)
    wait_for(lambda: stack.settled(200), 90, "every transaction has its result")
    stack.check_applied_once(200)
    # The broker's own counters lag by seconds.
    wait_for(lambda: stack.queue("consumer.transactions.v1") == ("quorum", 0), 20, "the queue is empty")
    assert stack.queue("consumer.transactions.v1.dead") == ("quorum", 0)
    # Every event was sent once, by the broker, and confirmed.
    assert stack.sql("SELECT attempts, channel, count(*) FROM outbox_outboxmessage GROUP BY 1, 2") == [
        (1, "broker", 200)
    ]
    assert stack.sql("SELECT max(deliveries), count(*) FROM webhooks_inboxmessage") == [(1, 200)]
    shown = stack.get(f"/api/v1/transactions/{created[7]['id']}/events")["data"]
    kinds = [entry["kind"] for entry in shown]
    assert kinds[:2] == ["change", "event"] and sorted(kinds) == ["change", "change", "event", "result"]
    assert next(e for e in shown if e["kind"] == "event")["channel"] == "broker"


def test_a_plain_amqp_client_reads_persistent_events_once_each(stack):
    stack.web(), stack.relay()
    created = stack.submit(200)
    wait_for(lambda: stack.queue("consumer.transactions.v1") == ("quorum", 200), 60, "200 events in a quorum queue")
    messages = drain(stack, "consumer.transactions.v1", 201)
    assert len(messages) == 200
    seen = set()
    for properties, headers, body in messages:
        assert properties["delivery_mode"] == 2
        assert properties["content_type"] == "application/json"
        args, kwargs, _embed = json.loads(body)
        event = kwargs["event"]
        assert args == [] and headers["task"] == "consumer.process_transaction" and headers["id"] == event["id"]
        assert properties["message_id"] == event["id"] == headers["cloudEvents_id"]
        assert event["type"] == "transaction.created" and event["sequence"] == "0" * 19 + "1"
        seen.add(event["subject"])
    assert seen == {txn["id"] for txn in created}


def test_the_cloudevents_wire_format_serves_consumers_that_are_not_celery(make_stack):
    stack = make_stack(OUTBOX_WIRE_FORMAT="cloudevents")
    stack.web(), stack.relay()
    (txn,) = stack.submit(1)
    wait_for(lambda: stack.queue("consumer.transactions.v1")[1] == 1, 30, "the event is in the queue")
    ((properties, headers, body),) = drain(stack, "consumer.transactions.v1", 2)
    assert properties["content_type"] == "application/cloudevents+json"
    assert "task" not in headers
    event = json.loads(body)
    assert event["data"]["transaction"] == txn and event["specversion"] == "1.0"


CONTRACT_ONLY_WORKER = """
import json, os
from celery import Celery
from kombu import Exchange, Queue
app = Celery(broker=os.environ["BROKER_URL"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_queues=[Queue(
    "consumer.transactions.v1", Exchange("transactions", type="topic"), routing_key="transaction.#", no_declare=True,
    queue_arguments={"x-queue-type": "quorum"})])
@app.task(name="consumer.process_transaction")
def process_transaction(event):
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(json.dumps(event) + "\\n")
"""


def test_a_celery_worker_with_nothing_but_the_contract_consumes_the_events(stack, tmp_path):
    (tmp_path / "stranger.py").write_text(CONTRACT_ONLY_WORKER)
    seen = tmp_path / "seen.jsonl"
    stack.web(), stack.relay()
    stack.start(
        "stranger",
        [
            "-m",
            "celery",
            "--workdir",
            str(tmp_path),
            "-A",
            "stranger",
            "worker",
            "-P",
            "solo",
            "-Q",
            "consumer.transactions.v1",
        ],
        SEEN=str(seen),
    )
    created = stack.submit(20)
    wait_for(lambda: seen.exists() and len(seen.read_text().splitlines()) == 20, 60, "the stranger saw 20 events")
    events = [json.loads(line) for line in seen.read_text().splitlines()]
    assert {event["data"]["transaction"]["id"] for event in events} == {txn["id"] for txn in created}


ROWS = [json.loads(line) for line in (ROOT / "producer/demo/statement_rows.jsonl").read_text().splitlines()]
EXACT = [
    {"account_number": "50880050/0194804000888", "amount": "1000", "currency": "JPY", "direction": "credit"},
    {"account_number": "50880050/0194804000888", "amount": "999999999999999", "currency": "JPY", "direction": "debit"},
    {"account_number": "KW81CBKU0000000000001234560101", "amount": "0.001", "currency": "KWD", "direction": "debit"},
    {"account_number": "BPHKPLPK/320000546101", "amount": "999999999999999.999", "currency": "KWD", "direction": "debit"},
    {"account_number": "BPHKPLPK/320000546101", "amount": "999999999999999.99", "currency": "EUR", "direction": "debit"},
    {"account_number": "BPHKPLPK/320000546101", "amount": "0.1", "currency": "EUR", "direction": "debit",
     "description": "Zażółć gęślą jaźń; Überweisung für Möbel, Straße 5"},
]  # fmt: skip
DIGITS = {"JPY": 0, "EUR": 2, "KWD": 3, "CHF": 2, "PLN": 2}


def test_rows_of_real_statements_stay_exact_at_every_stop(stack, tmp_path):
    stack.web(), stack.worker(), stack.beat(), stack.relay(), stack.consumer_web(), stack.consumer_worker()
    rows = [*ROWS, *EXACT]
    created = stack.submit(len(rows), body=lambda number: rows[number])
    wait_for(lambda: stack.settled(len(rows)), 60, "every row has its result")
    listed = {txn["id"]: txn for txn in stack.get("/api/v1/transactions", limit=100)["data"]}
    for sent, answered in zip(rows, created, strict=True):
        whole, _, fraction = sent["amount"].partition(".")
        digits = DIGITS[sent["currency"]]
        exact = whole + ("." + fraction.ljust(digits, "0") if digits else "")
        assert answered["amount"] == exact == listed[answered["id"]]["amount"]
        assert answered["description"] == sent.get("description", "") == listed[answered["id"]]["description"]
        ((stored, body),) = stack.sql(
            "SELECT t.amount::text, m.body FROM transactions_transaction t JOIN outbox_outboxmessage m ON m.key = t.id::text "
            "WHERE t.id = %s",
            answered["id"],
        )
        assert (
            stored.rstrip("0").rstrip(".") == exact.rstrip("0").rstrip(".")
            if "." in exact
            else stored.split(".")[0] == exact
        )
        assert json.loads(body)["data"]["transaction"]["amount"] == exact
        result = listed[answered["id"]]["processed_data"]
        assert result["amount"] == exact and result["currency"] == sent["currency"]
        assert stack.get(f"/api/v1/transactions/{answered['id']}")["amount"] == exact
