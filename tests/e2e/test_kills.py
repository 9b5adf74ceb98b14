"""kill -9 at the worst moments: nothing lost, nothing applied twice. Each victim is proven to have died where it should."""

import pytest

from tests.stack import wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(180)]

COUNT = 60


def assert_died_there(stack, name):
    process = stack.processes[name]
    assert stack.marker(name).read_text().count("\n") == 1, "the failpoint was reached once"
    assert process.deaths[0] == -9, "the first process died by SIGKILL"


def test_the_relay_killed_between_publish_and_settle_loses_nothing(stack):
    stack.web(), stack.worker(), stack.consumer_web(), stack.consumer_worker()
    stack.submit(COUNT)
    stack.relay(failpoint=("outbox.relay:settle", "before", 0), supervised=True)
    wait_for(lambda: stack.settled(COUNT), 90, "every transaction has its result")
    assert_died_there(stack, "relay")
    stack.check_applied_once(COUNT)
    # What the dead relay had sent went out again, with the same ids: the Consumer saw copies and decided once.
    assert stack.sql("SELECT max(attempts) FROM outbox_outboxmessage")[0][0] >= 2


def test_the_relay_killed_after_its_claim_loses_nothing(stack):
    stack.web(), stack.worker(), stack.consumer_web(), stack.consumer_worker()
    stack.submit(COUNT)
    stack.relay(failpoint=("outbox.relay:claim", "after", 0), supervised=True)
    wait_for(lambda: stack.settled(COUNT), 90, "every transaction has its result")
    assert_died_there(stack, "relay")
    stack.check_applied_once(COUNT)


@pytest.mark.parametrize(
    ("point", "when", "skip"),
    [
        ("webhooks.services:apply_one", "after", 5),  # one result applied and committed, the task not acknowledged
        ("webhooks.services:apply_one", "before", 5),  # claimed, not applied
        ("webhooks.inbox:settle", "after", 5),  # applied and settled, not committed
    ],
    ids=["after the commit, before the ack", "after the claim", "inside the transaction"],
)
def test_the_producers_worker_killed_while_applying_applies_nothing_twice(stack, point, when, skip):
    stack.web(), stack.relay(), stack.consumer_web(), stack.consumer_worker()
    stack.worker(failpoint=(point, when, skip), supervised=True)
    stack.beat()
    stack.submit(COUNT)
    wait_for(lambda: stack.settled(COUNT), 90, "every transaction has its result")
    assert_died_there(stack, "worker")
    stack.check_applied_once(COUNT)


@pytest.mark.parametrize(
    ("point", "when"),
    [
        ("processing.delivery:deliver", "before"),
        ("processing.delivery:deliver", "after"),
        ("processing.handler:handle", "before"),
    ],
    ids=["decided, not posted", "posted, not acknowledged", "received, not decided"],
)
def test_the_consumers_worker_killed_mid_task_costs_no_result_and_doubles_none(stack, point, when):
    stack.web(), stack.relay(), stack.worker(), stack.beat()
    stack.consumer_worker(failpoint=(point, when, 3), supervised=True)
    stack.submit(COUNT)
    wait_for(lambda: stack.settled(COUNT), 90, "every transaction has its result")
    assert_died_there(stack, "consumer-worker")
    stack.check_applied_once(COUNT)


def test_the_web_killed_after_the_commit_answers_the_retry_as_the_first_time(stack):
    stack.web(failpoint=("transactions.views:respond", "before", 0), supervised=True)
    created = stack.submit(1)
    assert stack.marker("web").read_text().count("\n") == 1
    again = stack.post("/api/v1/transactions", {**plain_body(stack), "external_id": "inv-0"}, f"{stack.name}-0")
    assert again.status_code == 201 and again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == created[0]
    assert stack.sql("SELECT count(*) FROM transactions_transaction") == [(1,)]
    assert stack.sql("SELECT count(*) FROM outbox_outboxmessage") == [(1,)]


def plain_body(stack):
    from tests.stack import plain

    return plain(0)


def test_the_web_killed_before_the_commit_leaves_nothing_behind(stack):
    stack.web(failpoint=("outbox.services:transaction.on_commit", "after", 0), supervised=True)
    stack.submit(1)
    assert stack.marker("web").read_text().count("\n") == 1
    # The killed one left no row; the retry made the only one.
    assert stack.sql("SELECT count(*) FROM transactions_transaction") == [(1,)]
    assert stack.sql("SELECT count(*) FROM transactions_idempotencykey") == [(1,)]
    assert stack.sql("SELECT count(*) FROM outbox_outboxmessage") == [(1,)]
