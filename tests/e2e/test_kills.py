"""kill -9 at the worst moments: nothing lost, nothing applied twice. Each victim is proven to have died where it should."""

import pytest
import requests

from tests.stack import plain, wait_for

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
        ("webhooks.services:_apply_group", "after", 0),  # results applied and committed, the task not acknowledged
        ("webhooks.services:apply_together", "before", 0),  # claimed, not applied
        ("webhooks.inbox:settle", "after", 0),  # applied and settled, not committed
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
    again = stack.post("/api/v1/transactions", plain(0), f"{stack.name}-0")
    assert again.status_code == 201 and again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == created[0]
    assert stack.sql("SELECT count(*) FROM transactions_transaction") == [(1,)]
    assert stack.sql("SELECT count(*) FROM outbox_outboxmessage") == [(1,)]


def test_the_web_killed_before_its_statement_leaves_nothing_behind(stack):
    stack.web(failpoint=("transactions.writing:outbox.insert_values", "after", 0), supervised=True)
    stack.submit(1)
    assert stack.marker("web").read_text().count("\n") == 1
    # The killed one left no row; the retry made the only one.
    for table in (
        "transactions_transaction",
        "transactions_idempotencykey",
        "transactions_historyentry",
        "outbox_outboxmessage",
    ):
        assert stack.sql(f"SELECT count(*) FROM {table}") == [(1,)], table


def test_the_web_killed_inside_the_transaction_of_a_change_leaves_it_unchanged(stack):
    # Row, history and event are written and nothing is committed. (A create on an idle system wakes a relay by itself.)
    stack.web(failpoint=("outbox.services:announce", "before", 0), supervised=True, WEB_WORKERS="1", WEB_THREADS="1")
    (txn,) = stack.submit(1)
    with pytest.raises(requests.ConnectionError):
        stack.patch(f"/api/v1/transactions/{txn['id']}", {"description": "never"})
    assert stack.marker("web").read_text().count("\n") == 1
    wait_for(lambda: stack.idle_in_transaction() == 0, 20, "the server has noticed the death")
    assert stack.sql("SELECT version, description FROM transactions_transaction") == [(1, "Invoice 0")]
    assert stack.sql("SELECT count(*) FROM transactions_historyentry") == [(1,)]
    stack.wait_http(f"{stack.url}/livez")
    assert stack.patch(f"/api/v1/transactions/{txn['id']}", {"description": "now"}).json()["version"] == 2
    assert stack.sql("SELECT count(*) FROM outbox_outboxmessage") == [(2,)]
