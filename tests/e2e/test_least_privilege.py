"""The round trip with the users of ops/rabbitmq and the roles of ops/postgres: each may do what it must, and no more."""

import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import kombu
import psycopg2
import pytest
from amqp.exceptions import AccessRefused, NotAllowed

from tests.private_postgres import PrivatePostgres
from tests.settings import BROKER_URL
from tests.stack import ROOT, SECRET, Stack, wait_for
from webhooks.signing import sign
from webhooks.signing_keys import load_key

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(240)]

OPS = ROOT / "ops"
# Of users that live for a test.
PASSWORD = "only-for-tests"
QUEUE = "consumer.transactions.v1"


@pytest.fixture(scope="module")
def postgres():
    made = PrivatePostgres()
    made.start()
    yield made
    made.close()


class Users:
    """The definitions, imported under names of this test's own: the broker is everybody's."""

    def __init__(self, prefix):
        text = (OPS / "rabbitmq" / "definitions.json").read_text()
        definitions = json.loads(text)
        self.users = [user["name"] for user in definitions["users"]]
        self.vhosts = [vhost["name"] for vhost in definitions["vhosts"]]
        self.prefix = prefix
        for part in definitions.values():
            for entry in part:
                entry |= {key: f"{prefix}{entry[key]}" for key in ("vhost", "user") if key in entry}
        for part in ("users", "vhosts"):
            for entry in definitions[part]:
                entry["name"] = f"{prefix}{entry['name']}"
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            # For the user that rabbitmqctl becomes, who may not look into a folder of pytest's.
            Path(file.name).chmod(0o644)
            json.dump(definitions, file)
            file.flush()
            Stack._rabbitmqctl("import_definitions", file.name)
        for user in self.users:
            Stack._rabbitmqctl("change_password", f"{prefix}{user}", PASSWORD)

    def url(self, user, vhost):
        server = BROKER_URL.split("@")[-1].split("/")[0]
        return f"amqp://{self.prefix}{user}:{PASSWORD}@{server}/{self.prefix}{vhost}"

    def close(self):
        for user in self.users:
            Stack._rabbitmqctl("delete_user", f"{self.prefix}{user}")
        for vhost in self.vhosts:
            Stack._rabbitmqctl("delete_vhost", f"{self.prefix}{vhost}")


@pytest.fixture(scope="module")
def stack(tmp_path_factory, postgres):
    folder = tmp_path_factory.mktemp("stack")
    made = Stack(folder, postgres.url, BROKER_URL, private_broker=True)
    users = Users(f"{made.name}-")
    made.users = users
    made.env |= {
        "BROKER_URL": users.url("producer", "producer"),
        "TASKS_BROKER_URL": users.url("producer-tasks", "producer-tasks"),
        "DATABASE_URL": made.database_url.replace("postgres@", "producer_app@"),
    }
    # The tables are there already, as at somebody who comes to roles later.
    run_sql(postgres, made, (OPS / "postgres" / "roles.sql").read_text())
    yield made
    made.close()
    users.close()


def run_sql(postgres, stack, text):
    connection = psycopg2.connect(stack.database_url)
    connection.autocommit = True
    connection.cursor().execute(text)
    connection.close()


def results_worker(stack):
    """As ops/rabbitmq/README.md starts it, with processes of its own: these were forked before it could ask what it may."""
    urls = {
        "READ_BROKER_URL": stack.users.url("producer-results", "producer"),
        "TASKS_BROKER_URL": stack.users.url("producer-results", "producer-tasks"),
    }
    return stack._celery("results-worker", "producer", "producer.results.v1", ("-c", "1"), **urls)


@pytest.fixture
def running(stack):
    stack.web(), stack.beat(), stack.relay(), stack.consumer_web()
    stack._celery("worker", "producer", "producer.tasks.v1")
    results_worker(stack)
    stack.consumer_worker(BROKER_URL=stack.users.url("consumer", "producer"))
    yield stack
    stack.reset(purge=False)


def test_the_round_trip_works_with_exactly_these_rights(running):
    stack = running
    stack.submit(60)
    wait_for(lambda: stack.settled(60), 90, "every transaction has its result")
    stack.check_applied_once(60)
    assert stack.sql("SELECT DISTINCT channel FROM outbox_outboxmessage") == [("broker",)]
    for name, process in stack.processes.items():
        assert "ACCESS_REFUSED" not in process.log() and "permission denied" not in process.log(), name


def test_the_second_door_is_read_by_a_worker_of_its_own(running):
    with kombu.Connection(running.users.url("consumer", "producer")) as connection, connection.channel() as channel:
        # No task: it is rejected, and so is known to have been read.
        channel.basic_publish(channel.prepare_message(b"{}"), "", "producer.results.v1")
    wait_for(lambda: "dead-lettered" in running.processes["results-worker"].log(), 30, "the worker has read it")


@pytest.fixture
def without_a_clock(stack):
    stack.web(), stack._celery("worker", "producer", "producer.tasks.v1")
    yield stack
    stack.reset(purge=False)


def test_a_result_by_the_second_door_wakes_the_worker_that_applies_it(without_a_clock):
    """Without beat nothing sweeps: only the wake-up of the results' worker can have it applied."""
    stack = without_a_clock
    worker = results_worker(stack)
    (txn,) = stack.submit(1, first=1000)
    message = {"headers": {"task": "results.receive", "id": str(uuid.uuid4()), "lang": "py"}}
    message |= {"content_type": "application/json", "content_encoding": "utf-8"}
    with kombu.Connection(stack.users.url("consumer", "producer")) as connection:
        body = json.dumps([[], signed_result(txn), {}])
        connection.Producer().publish(body, routing_key="producer.results.v1", **message)
        wait_for(lambda: stack.settled(1), 60, "the result is applied")
    assert "wake-up lost" not in worker.log() and "ACCESS_REFUSED" not in worker.log()


def signed_result(txn):
    webhook_id, now = f"res_{uuid.uuid4().hex}", int(time.time())
    data = {"transaction_id": txn["id"], "transaction_version": txn["version"], "processed_data": {"reference": "x"}}
    raw = json.dumps({"type": "transaction.succeeded", "timestamp": "2026-11-22T10:15:01Z", "data": data})
    signature = sign(load_key(SECRET), webhook_id, now, raw.encode())
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(now), "webhook-signature": signature}
    return {"headers": headers, "body": raw}


@pytest.mark.parametrize(
    ("user", "vhost", "verb"),
    [
        ("producer", "producer", lambda channel: channel.basic_get(QUEUE)),
        ("producer", "producer", lambda channel: channel.queue_delete(QUEUE)),
        ("producer", "producer", lambda channel: channel.basic_publish(channel.prepare_message(b""), "", QUEUE)),
        ("consumer", "producer", lambda channel: channel.basic_get("producer.results.v1")),
        ("consumer", "producer", lambda channel: channel.queue_delete(QUEUE)),
        ("consumer", "producer", lambda channel: channel.basic_publish(channel.prepare_message(b""), "transactions", "x")),
        ("producer-results", "producer", lambda channel: channel.basic_get(QUEUE)),
        ("producer-results", "producer", lambda channel: channel.basic_publish(channel.prepare_message(b""), "", QUEUE)),
        # Wakes with its right there, and no more.
        ("producer-results", "producer-tasks", lambda channel: channel.basic_get("producer.tasks.v1")),
        ("producer-results", "producer-tasks", lambda channel: channel.queue_purge("producer.tasks.v1")),
        ("producer-results", "producer-tasks", lambda channel: channel.queue_delete("producer.tasks.v1")),
        ("producer-results", "producer-tasks", lambda channel: channel.queue_declare("mine")),
        ("consumer", "producer-tasks", None),
        ("producer", "producer-tasks", None),
    ],
)  # fmt: skip
def test_what_is_not_needed_is_refused(stack, user, vhost, verb):
    url = stack.users.url(user, vhost)
    with (
        pytest.raises((AccessRefused, NotAllowed)),
        kombu.Connection(url, transport_options={"confirm_publish": True}) as connection,
    ):
        verb(connection.channel()) if verb else connection.connect()


def test_the_running_role_can_change_rows_and_no_table(stack):
    url = stack.env["DATABASE_URL"]
    for statement in ("DROP TABLE outbox_waiting", "CREATE TABLE mine (id int)", "TRUNCATE transactions_transaction"):
        connection = psycopg2.connect(url)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            connection.cursor().execute(statement)
        connection.close()
    assert "producer.W005" not in stack.manage("check", "--database", "default")


def test_the_definitions_are_those_of_the_code():
    made = subprocess.run(
        [sys.executable, "ops/rabbitmq/make_definitions.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert made.stdout == (OPS / "rabbitmq" / "definitions.json").read_text(), "run ops/rabbitmq/make_definitions.py"
