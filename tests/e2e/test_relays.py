"""Relay processes against a real broker, seen from the wire: who sends what how often, in which order."""

import json
import threading
from contextlib import contextmanager

import kombu
import pytest

from outbox.claim import BLAMELESS_RETRY_SECONDS
from outbox.ids import uuid7
from outbox.management.commands.relay import TICK_SECONDS
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


@contextmanager
def full_queue(stack, messages):
    """RabbitMQ refuses what does not fit: a nack, which is the broker's fault and not the event's."""
    policy = json.dumps({"max-length": messages, "overflow": "reject-publish"})
    stack._rabbitmqctl("set_policy", "-p", stack.name, "full", f"^{QUEUE}$", policy, "--apply-to", "queues")
    try:
        yield
    finally:
        stack._rabbitmqctl("clear_policy", "-p", stack.name, "full")


def until_refused(stack, times):
    """Nobody reads yet: the queue fills up and refuses the rest, so that events of every relay come back."""
    refused = "SELECT coalesce(sum(failures), 0) FROM outbox_channelstate WHERE reason LIKE '%%queue is full%%'"
    wait_for(lambda: stack.sql(refused)[0][0] >= times, 60, f"all of a batch was refused {times} times")
    assert stack.sql("SELECT count(*) FROM outbox_outboxmessage WHERE state = 'published'")[0][0] < KEYS * EACH


def no_attempt_was_burned(stack):
    assert stack.sql("SELECT max(attempts), min(attempts) FROM outbox_outboxmessage") == [(1, 1)]


@pytest.mark.parametrize("number", [2, pytest.param(4, marks=pytest.mark.long)])
def test_relays_that_meet_retries_send_nothing_twice_as_long_as_none_crashes(stack, number):
    fill(stack)
    with full_queue(stack, 40):
        relays(stack, number)
        until_refused(stack, 1)
        # Each time a batch or more gets in; then the queue is full, and what it refused waits, and a relay's tick after it.
        seconds = KEYS * EACH / BATCH * (BLAMELESS_RETRY_SECONDS + TICK_SECONDS)
        with wire(stack) as seen:
            wait_for(lambda: all_published(stack), seconds, "every event is published")
    nothing_lost_and_in_order(stack, seen)
    assert len(seen) == KEYS * EACH, "no event was sent twice"
    no_attempt_was_burned(stack)


def test_a_queue_that_has_room_again_takes_everything_within_five_seconds(stack):
    """However long it was full: by then the probes are as rare as they get."""
    fill(stack)
    with full_queue(stack, 40):
        relays(stack, 2)
        until_refused(stack, 3)
    wait_for(lambda: all_published(stack), 5, "every event is published")
    with wire(stack) as seen:
        pass
    nothing_lost_and_in_order(stack, seen)
    assert len(seen) == KEYS * EACH, "no event was sent twice"
    no_attempt_was_burned(stack)
