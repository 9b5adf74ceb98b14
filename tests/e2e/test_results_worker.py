"""A worker of the second door: missed when it was killed, and not when it was told to stop."""

import os
import signal

import pytest

from tests.settings import BROKER_URL, DATABASE_URL
from tests.stack import Stack, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(180)]


@pytest.fixture
def stack(tmp_path):
    made = Stack(tmp_path, DATABASE_URL, BROKER_URL)
    yield made
    made.close()


def test_only_one_that_died_leaves_its_word_behind(stack):
    def known():
        return stack.sql("SELECT kind FROM outbox_processstate WHERE kind = 'results-worker'")

    def start():
        worker = stack._celery("results-worker", "producer", "producer.results.v1", pool=("-c", "1"))
        wait_for(known, 60, "it says that it lives")
        return worker.child

    told = start()
    os.kill(told.pid, signal.SIGTERM)
    assert told.wait(30) == 0
    assert known() == []
    start()
    stack.processes["results-worker"].kill()
    assert known() == [("results-worker",)]
