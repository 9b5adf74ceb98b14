"""The whole round trip with RabbitMQ down from the start, then up, then killed in mid-traffic."""

import time

import pytest
import requests

from tests.private_rabbitmq import PrivateRabbitMQ
from tests.settings import DATABASE_URL
from tests.stack import Stack, plain, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(400)]

COUNT = 500
# A request may take this long at most (seconds), whatever the broker does: the API never waits for it.
DEADLINE = 5.0


@pytest.fixture
def broker(tmp_path):
    node = PrivateRabbitMQ(tmp_path)
    yield node
    node.close()


@pytest.fixture
def stack(tmp_path, broker):
    folder = tmp_path / "stack"
    folder.mkdir()
    # What the broker had confirmed and nobody had read dies with it; its result is overdue soon, and it is sent again.
    settings = {"OUTBOX_FALLBACK_AFTER_SECONDS": "2", "RESULT_DEADLINE_SECONDS": "10"}
    made = Stack(folder, DATABASE_URL, broker.url, private_broker=True, **settings)
    yield made
    made.close()


def submit(stack, first, count):
    """One after the other, so that each answer's time is the API's own."""
    slowest = 0.0
    for number in range(first, first + count):
        started = time.monotonic()
        answer = stack.post("/api/v1/transactions", plain(number), f"{stack.name}-{number}")
        slowest = max(slowest, time.monotonic() - started)
        assert answer.status_code == 201, answer.text
    return slowest


def channels(stack):
    return dict(stack.sql("SELECT channel, count(*) FROM outbox_outboxmessage GROUP BY 1"))


def test_500_by_webhook_500_by_broker_and_500_through_its_death(stack, broker):
    stack.web(), stack.beat(), stack.relay(), stack.consumer_web(), stack.worker(), stack.consumer_worker()

    # Down from the start.
    assert submit(stack, 0, COUNT) < DEADLINE
    wait_for(lambda: stack.settled(COUNT), 120, "500 round trips without RabbitMQ")
    wait_for(lambda: channels(stack) == {"webhook": COUNT}, 30, "all of the first 500 by webhook")
    ready = requests.get(f"{stack.url}/readyz", timeout=10)
    assert ready.status_code == 503 and ready.json()["checks"]["broker"].startswith("failed")
    metrics = requests.get(f"{stack.url}/metrics", timeout=10).text
    failing = next(
        line for line in metrics.splitlines() if line.startswith('outbox_channel_failing_seconds{channel="broker"}')
    )
    assert float(failing.split()[-1]) > 0

    # It comes up.
    broker.start()
    wait_for(lambda: requests.get(f"{stack.url}/readyz", timeout=10).status_code == 200, 60, "ready again")
    assert submit(stack, COUNT, COUNT) < DEADLINE
    wait_for(lambda: stack.settled(2 * COUNT), 120, "500 round trips by the broker")
    # A result may overtake the settlement of its event.
    wait_for(lambda: channels(stack) == {"webhook": COUNT, "broker": COUNT}, 30, "all of the second 500 by the broker")

    # It dies in mid-traffic.
    assert submit(stack, 2 * COUNT, COUNT // 2) < DEADLINE
    broker.kill()
    assert submit(stack, 2 * COUNT + COUNT // 2, COUNT // 2) < DEADLINE
    wait_for(lambda: stack.settled(3 * COUNT), 180, "500 round trips around the death")
    stack.check_applied_once(3 * COUNT)
