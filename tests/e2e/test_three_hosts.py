"""The Producer spread over three hosts, each with a node of the broker and a server of the database; each is cut off in turn."""

import json
import time

import pytest

from tests import hosts
from tests.faults.load import Load
from tests.private_cluster import PrivateCluster
from tests.private_postgres import PrivatePostgres
from tests.stack import ROOT, Stack, wait_for
from tests.zeros import Recovery, answers, check

pytestmark = [
    *(pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.long, pytest.mark.timeout(900)),
    pytest.mark.skipif(not hosts.POSSIBLE, reason="network namespaces need root and iproute2"),
]

QUEUE = "consumer.transactions.v1"
RATE = 4.0
# How long whoever watches the primary (Patroni, CloudNativePG) takes to see that it is gone, and to fence it.
NOTICED_AFTER_SECONDS = 3.0
# The same on each: they have network namespaces of their own.
PORT = 8000


SERVE = ("-m", "gunicorn", "-c", str(ROOT / "ops/gunicorn.conf.py"))


def worker(application, number):
    name = f"{application}-{number}@host{number}"
    return [
        "-m",
        "celery",
        "-A",
        application,
        "worker",
        "-n",
        name,
        "-P",
        "solo",
        "--without-gossip",
        "--without-mingle",
    ]


class Spread(Stack):
    """Web, relay, worker on each of three hosts, beat on two of them; the Consumer on a fourth."""

    def __init__(self, folder, at, database, broker, **settings):
        self.at, self.consumer_at = at[:3], at[3]
        super().__init__(folder, database, broker, private_broker=True, **settings)

    def spread_out(self):
        for number, host in enumerate(self.at):
            self.start(
                f"web-{number}", [*SERVE, "producer.wsgi:application", "-b", f"{host.address}:{PORT}"], host=host
            )
            self.start(f"relay-{number}", ["manage.py", "relay"], host=host)
            queues = "producer.tasks.v1,producer.results.v1"
            self.start(f"worker-{number}", [*worker("producer", number), "-Q", queues], host=host)
        for number, host in enumerate(self.at[:2]):
            self.start(f"beat-{number}", ["-m", "celery", "-A", "producer", "beat", "--pidfile="], host=host)
        there = {"host": self.consumer_at, "consumer": True}
        self.start("consumer-worker", [*worker("reference", 3), "-Q", QUEUE], **there)
        self.start(
            "consumer-web", [*SERVE, "reference.wsgi:application", "-b", f"{self.consumer_at.address}:{PORT}"], **there
        )
        for url in self.urls:
            self.wait_http(f"{url}/livez")

    @property
    def urls(self):
        return [f"http://{host.address}:{PORT}" for host in self.at]


@pytest.fixture
def four_hosts():
    made = hosts.Hosts(4)
    yield made
    made.close()


@pytest.fixture
def cluster(tmp_path, four_hosts):
    made = PrivateCluster(tmp_path, four_hosts)
    yield made
    made.close()


@pytest.fixture
def servers(four_hosts):
    """A primary on the first host; a COMMIT is answered once one of the two standbys has it."""
    made = [PrivatePostgres(host=four_hosts[0])]
    try:
        made[0].start()
        for number in (1, 2):
            made.append(PrivatePostgres(host=four_hosts[number], standby_of=made[0]))
            made[-1].start()
        made[0].wait_for_standby(2)
        yield made
    finally:
        for server in made:
            server.close()


@pytest.fixture
def stack(tmp_path, four_hosts, cluster, servers):
    (tmp_path / "stack").mkdir()
    consumer = four_hosts[3].address
    made = Spread(
        *(tmp_path / "stack", four_hosts.all, servers[0].url, cluster.url),
        ALLOWED_HOSTS=",".join(host.address for host in four_hosts.all),
        CONSUMER_ALLOWED_HOSTS=consumer,
        CONSUMER_WEBHOOK_URL=f"http://{consumer}:{PORT}/webhooks/events",
        WEBHOOK_ALLOWED_NETWORKS=f"{consumer}/32",
        # One of the three: while that host is cut off, results come by the queue.
        PRODUCER_URL=f"http://{four_hosts[1].address}:{PORT}",
        OUTBOX_FALLBACK_AFTER_SECONDS="5",
        WEB_WORKERS="1",
    )
    addresses = ",".join(f"{server.address}:{server.port}" for server in servers)
    made.env["DATABASE_URL"] = f"postgres://postgres@{addresses}/{made.name}?target_session_attrs=read-write"
    yield made
    made.close()


def fail_over(stack, servers):
    """What a supervisor of PostgreSQL does: fences the primary, promotes the standby with the most, turns the other to it."""
    primary, *standbys = servers
    time.sleep(NOTICED_AFTER_SECONDS)
    primary.kill()
    ahead, other = sorted(standbys, key=lambda standby: standby.received(), reverse=True)
    ahead.promote()
    other.follow(ahead)
    ahead.wait_for_standby(1)
    stack.admin_url = ahead.url
    stack.database_url = f"{ahead.url.rsplit('/', 1)[0]}/{stack.name}"


def test_each_host_is_cut_off_in_turn(stack, cluster, servers, four_hosts, tmp_path):
    stack.spread_out()
    first, *others = stack.urls
    load = Load(first, stack.key, tmp_path, seed=1, rate=RATE, also=tuple(others))
    recovery = Recovery(stack)
    load.start()
    wait_for(lambda: stack.statuses().get("succeeded", 0) > 20, 90, "the round trip works")
    wait_for(lambda: cluster.whole(QUEUE), 60, "the queue has three members")

    def heal(host):
        host.heal()
        wait_for(lambda: cluster.whole(QUEUE), 120, "the broker is whole again")
        healed = time.time()
        wait_for(lambda: served_since(load, healed) == set(stack.urls), 60, "every host takes transactions")

    recovery.of("a host with a standby cut off", lambda: four_hosts.cut_off(four_hosts[2]), 120)
    heal(four_hosts[2])
    recovery.of("the host that takes the results cut off", lambda: four_hosts.cut_off(four_hosts[1]), 120)
    heal(four_hosts[1])

    def lose_the_primary():
        four_hosts.cut_off(four_hosts[0])
        fail_over(stack, servers)

    recovery.of("the host with the primary cut off, a standby promoted", lose_the_primary, 120)
    heal(four_hosts[0])

    figures = check(stack, load, within=180)
    assert {entry["status"] for entry in answers(load)} <= {200, 201, 204, 409, 412, 503}
    assert all(entry["retry_after"] for entry in answers(load) if entry["status"] == 503)
    print(json.dumps({**recovery.seconds, **figures}))


def served_since(load, since):
    """The servers that took a new transaction after it."""
    return {entry["server"] for entry in answers(load) if entry["at"] >= since and entry["status"] == 201}
