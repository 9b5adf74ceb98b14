"""Relay processes against a real broker, seen from the wire: who sends what how often, in which order."""

import json
import threading
from contextlib import contextmanager

import kombu
import pytest

from outbox.ids import uuid7
from tests.stack import wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(240)]

QUEUE = "consumer.transactions.v1"
KEYS, EACH, BATCH = 20, 20, 50
FILL = """
    INSERT INTO outbox_outboxmessage (id, topic, type, key, sequence, body, state, attempts, parked, claimed_by, error, channel)
    SELECT id, 'transactions', 'transaction.created', key, sequence, '{}', 'pending', 0, false, '', '', ''
      FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) AS event(id, key, sequence)
"""


@contextmanager
def wire(stack):
    """Everything that arrives in the queue while the block runs: ids, in their order."""
    seen, done = [], threading.Event()

    def take():
        with kombu.Connection(stack.broker_url) as connection, connection.channel() as channel:
            while True:
                message = channel.basic_get(QUEUE, no_ack=True)
                if message is not None:
                    seen.append(message.properties["message_id"])
                elif done.wait(0.01):
                    return

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join(30)


def fill(stack):
    events = [(f"key-{key}", sequence) for sequence in range(1, EACH + 1) for key in range(KEYS)]
    ids = [str(uuid7()) for _ in events]
    stack.sql(FILL, ids, [key for key, _ in events], [sequence for _, sequence in events])


def relays(stack, number, **options):
    for one in range(number):
        stack.start(f"relay-{one}", ["manage.py", "relay", "--batch", str(BATCH)], **options)


def all_published(stack):
    return stack.sql("SELECT count(*) FROM outbox_outboxmessage WHERE state <> 'published'") == [(0,)]


def nothing_lost_and_in_order(stack, seen):
    """The first arrival of each event comes after that of the one before it in its key."""
    rows = {row[0]: row[1:] for row in stack.sql("SELECT id::text, key, sequence FROM outbox_outboxmessage")}
    assert len(rows) == KEYS * EACH
    assert set(seen) == set(rows), "exactly what was committed was sent"
    last: dict[str, int] = {}
    for event_id in dict.fromkeys(seen):
        key, sequence = rows[event_id]
        assert sequence == last.get(key, 0) + 1, (key, sequence)
        last[key] = sequence


def full_queue(stack, messages):
    """RabbitMQ refuses what does not fit: a nack, which is the broker's fault and not the event's."""
    policy = json.dumps({"max-length": messages, "overflow": "reject-publish"})
    stack._rabbitmqctl("set_policy", "-p", stack.name, "full", f"^{QUEUE}$", policy, "--apply-to", "queues")


def room_again(stack):
    stack._rabbitmqctl("clear_policy", "-p", stack.name, "full")


@pytest.mark.parametrize("number", [2, pytest.param(4, marks=pytest.mark.long)])
def test_relays_that_meet_retries_send_nothing_twice_as_long_as_none_crashes(stack, number):
    fill(stack)
    full_queue(stack, 40)
    try:
        relays(stack, number)
        # Nobody reads yet: the queue fills up and refuses the rest, so that events of every relay come back.
        refused = "SELECT count(*) FROM outbox_outboxmessage WHERE error LIKE 'NACK%%'"
        wait_for(lambda: stack.sql(refused)[0][0] > 0, 60, "something was refused")
        assert stack.sql("SELECT count(*) FROM outbox_outboxmessage WHERE state = 'published'")[0][0] < KEYS * EACH
        with wire(stack) as seen:
            wait_for(lambda: all_published(stack), 120, "every event is published")
    finally:
        room_again(stack)
    nothing_lost_and_in_order(stack, seen)
    assert len(seen) == KEYS * EACH, "no event was sent twice"
    assert stack.sql("SELECT max(attempts), min(attempts) FROM outbox_outboxmessage") == [(1, 1)], (
        "no attempt was burned"
    )
