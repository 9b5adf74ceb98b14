"""The whole system through PgBouncer in transaction mode: nothing of it may need a session."""

import os
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from tests.private_pgbouncer import POOL_SIZE, PrivatePgBouncer
from tests.settings import BROKER_URL, DATABASE_URL
from tests.stack import Stack, plain, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(180)]
if "DATABASE_POOLED" in os.environ:
    pytestmark.append(pytest.mark.skip(reason="brings a pool of its own; `make test-pooled` would put one before it"))


@pytest.fixture(scope="module")
def pooler():
    made = PrivatePgBouncer(DATABASE_URL)
    yield made
    made.close()


@pytest.fixture(scope="module")
def services(tmp_path_factory, pooler):
    made = Stack(tmp_path_factory.mktemp("stack"), pooler.url, BROKER_URL, DATABASE_POOLED="true")
    yield made
    made.close()


@pytest.fixture
def stack(services):
    services.reset()
    yield services
    services.reset()


def direct_url(stack):
    """Past the pool."""
    return urlunsplit(urlsplit(DATABASE_URL)._replace(path=f"/{stack.name}"))


def direct(stack, statement):
    connection = psycopg2.connect(direct_url(stack))
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement, {"name": stack.name})
        return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def sessions(stack, query="%%"):
    found = "SELECT count(*) FROM pg_stat_activity WHERE datname = %(name)s AND pid <> pg_backend_pid() AND query LIKE "
    return direct(stack, f"{found} '{query}'")[0][0]


def test_200_transactions_go_round_while_the_pool_dies_and_comes_back(stack, pooler):
    stack.web(), stack.worker(), stack.beat(), stack.relay(), stack.consumer_web(), stack.consumer_worker()
    stack.submit(100)
    pooler.kill()
    pooler.start()
    for number in range(100, 200):
        # Any of these may meet a connection that died with the pool; that is mended within the request.
        answer = stack.post("/api/v1/transactions", plain(number), f"{stack.name}-{number}")
        assert answer.status_code == 201, answer.text
    wait_for(lambda: stack.settled(200), 90, "every transaction has its result")
    stack.check_applied_once(200)
    assert sessions(stack, "LISTEN%%") == 0, "in a pool a LISTEN is lost, and wakes whoever gets the session next"
    # A dozen threads had to share them.
    assert sessions(stack) <= POOL_SIZE


def test_a_relay_listens_at_the_direct_address_and_is_woken_there(stack):
    stack.relay(DATABASE_DIRECT_URL=direct_url(stack))
    wait_for(lambda: sessions(stack, "LISTEN%%") == 1, 30, "the relay listens")
    stack.web()
    stack.submit(1)
    wait_for(lambda: stack.sql("SELECT state FROM outbox_outboxmessage") == [("published",)], 20, "it is published")
