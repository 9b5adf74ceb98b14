"""The real channel when its broker blocks, freezes or dies: a private node, never the one that others use."""

import json
import signal
import subprocess
import time

import kombu
import pytest

from outbox import delivery, topology
from outbox.amqp import AmqpPublisher
from outbox.models import ChannelState
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
    """With an empty queue: the tests share the node, in any order."""
    settings.BROKER_URL = node.url
    with topology.connect() as connection, connection.channel() as own:
        topology.declare(connection)
        own.queue_purge(settings.OUTBOX_ROUTES["transactions"]["queue"])
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


@pytest.fixture(params=["guest", "relay"])
def user(node, request):
    """Who may write everywhere, and who may write events and nothing else (ops/rabbitmq)."""
    if request.param == "relay":
        node.ctl("add_user", "relay", "relay")
        node.ctl("set_permissions", "relay", "^$", "^transactions$", "^$")
    yield request.param
    if request.param == "relay":
        node.ctl("delete_user", "relay")


@pytest.mark.django_db
def test_the_greeting_tells_a_broker_that_takes_messages_from_one_that_does_not_and_reaches_nobodys_queue(
    node, channel, user, settings
):
    send(channel, [make_event()])  # The exchange is declared.
    settings.BROKER_URL = settings.BROKER_TRANSPORT_URL = node.url.replace("guest:guest", f"{user}:{user}")
    with kombu.Connection(node.url) as connection, connection.channel() as own:
        everything = own.queue_declare(exclusive=True).queue
        own.queue_bind(everything, "transactions", "#")
        assert delivery._greets(channel.publisher)
        assert not ChannelState.objects.exists()
        channel.control("set_vm_memory_high_watermark", "0")
        try:
            started = time.monotonic()
            assert not delivery._greets(channel.publisher)
            assert time.monotonic() - started < 2 * delivery.GREETING_SECONDS + 1
        finally:
            channel.control("set_vm_memory_high_watermark", "0.4")
        assert ChannelState.objects.get(name="broker").failing_since is not None
        assert own.basic_get(everything) is None
