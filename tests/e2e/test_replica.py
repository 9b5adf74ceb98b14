"""Lists come from a replica, and whoever has just written sees it; a replica that lags or is gone costs nobody an answer."""

import itertools

import pytest

from tests.private_postgres import PrivatePostgres
from tests.settings import BROKER_URL
from tests.stack import Stack, plain, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def primary():
    made = PrivatePostgres()
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory, primary):
    made = Stack(tmp_path_factory.mktemp("stack"), primary.url, BROKER_URL)
    yield made
    made.close()


@pytest.fixture
def standby(primary):
    made = PrivatePostgres(standby_of=primary)
    made.start()
    yield made
    made.close()


@pytest.fixture
def stack(system, standby):
    web = system.web(DATABASE_REPLICA_URL=f"{standby.url.rpartition('/')[0]}/{system.name}")
    yield system
    system.reset()
    web.log_path.unlink()


def create(stack, number):
    answer = stack.post("/api/v1/transactions", plain(number), f"key-{number}")
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def newest(stack):
    return stack.get("/api/v1/transactions", limit=1)["data"][0]["id"]


def scans(server, stack):
    """How often the table of transactions was read there, as far as its sessions have told."""
    url, server.url = server.url, f"{server.url.rpartition('/')[0]}/{stack.name}"
    try:
        server.sql("SELECT pg_stat_clear_snapshot()")
        return server.sql(
            "SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'transactions_transaction'"
        )[0][0]
    finally:
        server.url = url


def test_each_client_reads_what_it_wrote_a_moment_ago_from_the_replica(stack, primary, standby):
    before, numbers = scans(standby, stack), itertools.count()

    def read():
        number = next(numbers)
        assert create(stack, number) == newest(stack)
        return scans(standby, stack) - before >= 20

    # On a busy machine it lags now and then, and is left alone for a while.
    wait_for(read, 60, "the replica answers lists")


def test_a_replica_that_lags_is_left_alone_and_used_again(stack, standby):
    create(stack, 1)
    standby.sql("SELECT pg_wal_replay_pause()")
    for number in range(2, 12):
        assert create(stack, number) == newest(stack)
    assert "behind" in stack.processes["web"].log()
    standby.sql("SELECT pg_wal_replay_resume()")
    before = scans(standby, stack)

    def used():
        newest(stack)
        return scans(standby, stack) > before

    wait_for(used, 30, "the replica is asked again")


def test_a_replica_that_dies_costs_no_answer_and_a_promoted_one_is_none(stack, standby):
    assert create(stack, 1) == newest(stack)
    standby.stop("immediate")
    for number in range(2, 6):
        assert create(stack, number) == newest(stack)
    standby.start()
    standby.promote()

    for number in range(6, 10):
        assert create(stack, number) == newest(stack)
    wait_for(lambda: newest(stack) and "is no replica" in stack.processes["web"].log(), 30, "it is found out")
