"""PostgreSQL's primary dies under load and the synchronous standby takes over: what was answered with 2xx is there."""

import json
import time

import pytest

from tests.faults.load import Load
from tests.private_postgres import PrivatePostgres
from tests.settings import BROKER_URL
from tests.stack import Stack, wait_for
from tests.zeros import answers, check

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.rabbitmq,
    pytest.mark.processes,
    pytest.mark.long,
    pytest.mark.timeout(400),
]

# How long the supervisor (Patroni, CloudNativePG) may take to see that the primary is gone. Its part, not ours.
NOTICED_AFTER_SECONDS = 3.0


@pytest.fixture
def primary():
    made = PrivatePostgres()
    made.start()
    yield made
    made.close()


@pytest.fixture
def standby(primary):
    made = PrivatePostgres(standby_of=primary)
    made.start()
    primary.wait_for_standby()
    yield made
    made.close()


@pytest.fixture
def stack(tmp_path, primary, standby):
    (tmp_path / "stack").mkdir()
    made = Stack(tmp_path / "stack", primary.url, BROKER_URL)
    hosts = f"postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    made.env["DATABASE_URL"] = f"postgres://{hosts}/{made.name}?target_session_attrs=read-write"
    yield made
    made.admin_url = standby.url
    made.close()


def test_no_answer_of_2xx_is_lost_and_the_api_heals_by_itself(stack, primary, standby, tmp_path):
    stack.web(), stack.worker(), stack.beat(), stack.relay(), stack.consumer_web(), stack.consumer_worker()
    load = Load(stack.url, stack.key, tmp_path, seed=1, rate=30.0)
    load.start()
    wait_for(lambda: len(answers(load)) > 100, 60, "the load runs")

    died, died_at = time.monotonic(), time.time()
    primary.kill()
    time.sleep(NOTICED_AFTER_SECONDS)
    wait_for(lambda: refusals(load, died_at), 30, "the API says that the database is away")
    standby.promote()
    promoted_at = time.time()
    stack.database_url = f"{standby.url.rsplit('/', 1)[0]}/{stack.name}"
    wait_for(lambda: accepted_since(load, promoted_at), 30, "the API takes transactions again")
    first = min(accepted_since(load, promoted_at))
    wait_for(lambda: len(accepted_since(load, promoted_at)) > 100, 60, "and goes on")
    figures = check(stack, load, within=90)
    told = answers(load)
    # Nothing but success, 503, and what a client's own change may meet.
    assert {entry["status"] for entry in told} <= {200, 201, 204, 409, 412, 503}
    assert all(entry["retry_after"] for entry in refusals(load, died_at))
    # Same key, same answer: also for what was committed without one.
    created = {entry["key"]: entry["body"] for entry in told if entry["op"] == "create" and entry["status"] == 201}
    assert load.replay(dict(list(created.items())[-50:])) == 0
    seconds = {
        "killed to promoted": round(promoted_at - died_at, 1),
        "promoted to the first 201": round(first - promoted_at, 1),
        "killed to all settled": round(time.monotonic() - died, 1),
        "answers of 503": len(refusals(load, died_at)),
        **figures,
    }
    print(json.dumps(seconds))


def refusals(load, since):
    return [entry for entry in answers(load) if entry["at"] >= since and entry["status"] == 503]


def accepted_since(load, since):
    """When they were answered."""
    return [
        entry["at"] + entry["ms"] / 1000
        for entry in answers(load)
        if entry["status"] == 201 and entry["at"] + entry["ms"] / 1000 >= since
    ]
