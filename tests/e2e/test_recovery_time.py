"""What waited during an outage is out within five seconds of the broker's recovery: by the clock, with the shipped settings."""

import signal
import time

import pytest

from outbox.ids import uuid7
from tests.private_rabbitmq import PrivateRabbitMQ
from tests.settings import DATABASE_URL
from tests.stack import Stack, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(240)]

WITHIN_SECONDS = 5.0
COUNT = 400
# So many failures on end and the probes are as rare as they get.
FAILURES = 3
FILL = """
    INSERT INTO outbox_outboxmessage (id, topic, type, key, sequence, body, state, attempts, parked, claimed_by, error, channel)
    SELECT id, 'transactions', 'transaction.created', id::text, 1, '{}', 'pending', 0, false, '', '', ''
      FROM unnest(%s::uuid[]) AS event(id)
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    node = PrivateRabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    node.start()
    yield node
    node.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory, broker):
    # No fallback: it would carry the events meanwhile, and nothing would wait.
    made = Stack(
        tmp_path_factory.mktemp("stack"), DATABASE_URL, broker.url, private_broker=True, CONSUMER_WEBHOOK_URL=""
    )
    made.relay()
    yield made
    made.close()


def waiting(stack):
    return stack.sql("SELECT count(*) FROM outbox_outboxmessage WHERE state = 'pending'")[0][0]


def add(stack, count):
    stack.sql(FILL, [str(uuid7()) for _ in range(count)])


def alarm(broker):
    broker.ctl("set_vm_memory_high_watermark", "0")


def no_alarm(broker):
    broker.ctl("set_vm_memory_high_watermark", "0.4")


def freeze(broker):
    broker.signal(signal.SIGSTOP)


def thaw(broker):
    broker.signal(signal.SIGCONT)


def kill(broker):
    broker.kill()


def restart(broker):
    """Returns once it answers: before that it is not back."""
    broker.start()


@pytest.mark.parametrize(("outage", "recovery"), [(alarm, no_alarm), (freeze, thaw), (kill, restart)])
def test_all_that_waits_is_out_within_five_seconds_of_recovery(stack, broker, outage, recovery):
    add(stack, 1)
    wait_for(lambda: waiting(stack) == 0, 30, "the relay works")
    outage(broker)
    try:
        add(stack, COUNT)
        failing = f"SELECT 1 FROM outbox_channelstate WHERE name = 'broker' AND failures >= {FAILURES}"
        wait_for(lambda: stack.sql(failing), 60, "the outage is known")
        assert waiting(stack) == COUNT, "nothing is said to be sent that nobody took"
    finally:
        recovery(broker)
    recovered = time.monotonic()
    wait_for(lambda: waiting(stack) == 0, 60, "all of it is out")
    took = time.monotonic() - recovered
    assert took <= WITHIN_SECONDS, f"{took:.1f} s"
    assert stack.sql("SELECT max(attempts), count(*) FROM outbox_outboxmessage WHERE channel <> 'broker'") == [
        (None, 0)
    ]
    assert stack.sql("SELECT max(attempts) FROM outbox_outboxmessage") == [(1,)], "no attempt was burned"
