"""One set of services per module; each test starts its own processes on empty tables and queues."""

import pytest

from tests.settings import BROKER_URL, DATABASE_URL
from tests.stack import Stack


@pytest.fixture(scope="module")
def make_stack(tmp_path_factory):
    made = []

    def make(**settings):
        made.append(Stack(tmp_path_factory.mktemp("stack"), DATABASE_URL, BROKER_URL, **settings))
        return made[-1]

    yield make
    for stack in made:
        stack.close()


@pytest.fixture(scope="module")
def services(make_stack):
    return make_stack(
        OUTBOX_LEASE_SECONDS="4",
        INBOX_LEASE_SECONDS="4",
        OUTBOX_PUBLISH_TIMEOUT_SECONDS="2",
        OUTBOX_FALLBACK_TIMEOUT_SECONDS="3",
    )


@pytest.fixture
def stack(services):
    services.reset()
    yield services
    services.reset()
