"""A RabbitMQ cluster of three loses one node, two nodes and its network under load; the relay goes on, or the fallback does."""

import json

import pytest

from tests import hosts
from tests.faults.load import Load
from tests.private_cluster import PrivateCluster
from tests.settings import DATABASE_URL
from tests.stack import Stack, wait_for
from tests.zeros import Recovery, answers, check

pytestmark = [
    *(pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.long, pytest.mark.timeout(900)),
    pytest.mark.skipif(not hosts.POSSIBLE, reason="network namespaces need root and iproute2"),
]

QUEUE = "consumer.transactions.v1"
# A second. What the Consumer cannot keep up with on a busy machine would count as recovery.
RATE = 5.0


@pytest.fixture
def three_hosts():
    made = hosts.Hosts(3)
    yield made
    made.close()


@pytest.fixture
def cluster(tmp_path, three_hosts):
    made = PrivateCluster(tmp_path, three_hosts)
    yield made
    made.close()


@pytest.fixture
def stack(tmp_path, cluster):
    (tmp_path / "stack").mkdir()
    made = Stack(
        *(tmp_path / "stack", DATABASE_URL, cluster.url),
        private_broker=True,
        OUTBOX_FALLBACK_AFTER_SECONDS="5",
        # What was confirmed and lies in a queue without a majority is overdue soon, and is not waited for.
        RESULT_DEADLINE_SECONDS="60",
    )
    yield made
    made.close()


def sent_by(stack, channel, since):
    query = "SELECT count(*) FROM outbox_outboxmessage WHERE channel = %s AND published_at > %s"
    return stack.sql(query, channel, since)[0][0]


def test_nothing_is_lost_doubled_or_stuck_whichever_nodes_die(stack, cluster, three_hosts, tmp_path):
    stack.web(), stack.worker(), stack.beat(), stack.relay(), stack.consumer_web(), stack.consumer_worker()
    load, recovery = Load(stack.url, stack.key, tmp_path, seed=1, rate=RATE), Recovery(stack)
    load.start()
    wait_for(lambda: stack.statuses().get("succeeded", 0) > 20, 60, "the round trip works")
    wait_for(lambda: cluster.whole(QUEUE), 60, "the queue has three members")

    first = cluster.leader(QUEUE)
    recovery.of("the queue's leader killed", first.kill, 60)
    assert cluster.leader(QUEUE) is not first
    first.start()
    wait_for(lambda: cluster.whole(QUEUE), 120, "all members are back")

    second = cluster.leader(QUEUE)
    recovery.of("the next leader killed", second.kill, 60)
    third = cluster.leader(QUEUE)
    (lost_at,) = stack.sql("SELECT now()")[0]
    recovery.of("two of three gone: by webhook", third.kill, 90)
    wait_for(lambda: sent_by(stack, "webhook", lost_at) > 10, 60, "the fallback carries the traffic")
    second.launch(), third.start()
    (back_at,) = stack.sql("SELECT now()")[0]
    wait_for(lambda: sent_by(stack, "broker", back_at) > 10, 120, "the traffic is back at the broker")
    wait_for(lambda: cluster.whole(QUEUE), 120, "all members are back")

    cut = cluster.leader(QUEUE)
    host = three_hosts[cluster.nodes.index(cut)]
    recovery.of("the leader cut off from its peers", lambda: three_hosts.cut_off(host), 120)
    host.heal()
    wait_for(lambda: cluster.whole(QUEUE), 120, "it is a member again")

    figures = check(stack, load, within=180)
    assert all(entry["status"] < 500 for entry in answers(load)), "the API never noticed"
    print(json.dumps({**recovery.seconds, **figures}))
