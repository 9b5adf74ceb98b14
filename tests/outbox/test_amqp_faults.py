"""The real channel when its broker blocks, freezes or dies: a private node, never the one that others use."""

import json
import signal
import subprocess
import time

import pytest

from outbox import topology
from outbox.amqp import AmqpPublisher
from tests.private_rabbitmq import PrivateRabbitMQ
from tests.publisher_conformance import ids, make_event, send

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(180)]
# The longest that one publish may take, whatever the broker does (seconds): greeting, declaring and the deadline.
LONGEST_SECONDS = 12.0


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    node = PrivateRabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    node.start()
    yield node
    node.close()


@pytest.fixture
def channel(node, settings):
    settings.BROKER_URL = node.url
    return Channel(node, settings.OUTBOX_ROUTES)


class Channel:
    def __init__(self, node, routes):
        self.node, self.routes, self.publisher = node, routes, AmqpPublisher(node.url)

    def control(self, *words):
        command = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-n", self.node.node, *words]
        subprocess.run(command, env=self.node.env, check=True, stdout=subprocess.DEVNULL, timeout=60)

    def received(self):
        with topology.connect() as connection, connection.channel() as channel:
            found = []
            while (message := channel.basic_get(self.routes["transactions"]["queue"], no_ack=True)) is not None:
                found.append(json.loads(message.body)[1]["event"]["id"])
            return found


def timed(channel, events):
    started = time.monotonic()
    outcome = send(channel, events)
    assert time.monotonic() - started < LONGEST_SECONDS
    return outcome


def nothing_sent(outcome):
    assert outcome.trouble is not None
    return (outcome.confirmed, outcome.refused) == (set(), {})


@pytest.mark.parametrize("warm", [True, False])
def test_a_memory_alarm_is_trouble_without_blame_and_ends_with_the_alarm(channel, warm):
    before, during = [make_event("before")], [make_event(f"k{number}", text="x" * 1000) for number in range(300)]
    if warm:
        assert send(channel, before).confirmed == ids(before)
    channel.control("set_vm_memory_high_watermark", "0")
    try:
        outcome = timed(channel, during)
        assert nothing_sent(outcome)
        assert "blocks publishers" in outcome.trouble.reason
    finally:
        channel.control("set_vm_memory_high_watermark", "0.4")
    assert send(channel, during).confirmed == ids(during)
    assert {str(event.id) for event in during} <= set(channel.received())


def test_a_frozen_broker_is_found_out_in_time_and_used_again_when_it_thaws(channel):
    first, second = [make_event("a", 1)], [make_event("a", 2)]
    assert send(channel, first).confirmed == ids(first)
    channel.node.signal(signal.SIGSTOP)
    try:
        assert nothing_sent(timed(channel, second))
        assert nothing_sent(timed(channel, second))
    finally:
        channel.node.signal(signal.SIGCONT)
    assert send(channel, second).confirmed == ids(second)
    arrived = channel.received()
    assert arrived[0] == str(first[0].id)
    assert set(arrived[1:]) == {str(second[0].id)}


def test_what_was_confirmed_outlives_a_kill_and_the_channel_comes_back(channel):
    before, after = [make_event(f"k{number}") for number in range(100)], [make_event("after")]
    assert send(channel, before).confirmed == ids(before)
    channel.node.kill()
    assert nothing_sent(timed(channel, after))
    channel.node.start()
    assert send(channel, after).confirmed == ids(after)
    assert set(channel.received()) == {str(event.id) for event in before + after}
