"""One transaction followed through every process: by its trace, by its request id, and nothing secret on the way."""

import json

import pytest
import requests

from tests.otlp import Collector, tree
from tests.settings import BROKER_URL, DATABASE_URL
from tests.stack import ROOT, SECRET, Stack, plain, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(240)]

CLIENT_TRACE, CLIENT_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ACCOUNT, WORDS = "GB33BUKB20201555555555", "Salary-of-somebody"
# docs/operations.md shows it (a test below).
TREE = """\
producer: POST /api/v1/transactions
  producer: enqueue transaction.created
    consumer: process transaction.created
      consumer: POST result
        producer: POST /api/v1/webhooks/results
      producer: apply result
    producer: publish transaction.created"""


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def stack(tmp_path, collector):
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200", "LOG_EACH": "true"}
    made = Stack(tmp_path, DATABASE_URL, BROKER_URL, **settings, LOG_JSON="true")
    yield made
    made.close()


def lines(process):
    """What a process logged: each line one JSON object, whatever else its libraries print at their start."""
    return [json.loads(line) for line in process.log().splitlines() if line.startswith("{")]


def test_one_trace_and_one_request_id_lead_from_the_request_to_the_applied_result(stack, collector):
    stack.web(), stack.worker(), stack.beat(), stack.relay(), stack.consumer_web(), stack.consumer_worker()
    headers = {
        "Authorization": f"Bearer {stack.key}",
        "Idempotency-Key": "followed",
        "traceparent": f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01",
    }
    body = {**plain(1), "account_number": ACCOUNT, "description": WORDS, "metadata": {"note": WORDS}}
    answer = requests.post(f"{stack.url}/api/v1/transactions", json=body, headers=headers, timeout=15)
    assert answer.status_code == 201, answer.text
    request_id, transaction_id = answer.headers["X-Request-ID"], answer.json()["id"]
    wait_for(lambda: stack.settled(1), 60, "the result is applied")

    # One tree: the client's span is its root's parent, and every other parent is a span that was exported.
    wait_for(lambda: tree(collector.spans, CLIENT_TRACE) == TREE.splitlines(), 30, "the whole tree is exported")
    ours = [span for span in collector.spans if span.trace == CLIENT_TRACE]
    assert [span.name for span in ours if span.parent == CLIENT_SPAN] == ["POST /api/v1/transactions"]
    assert len(ours) == len(TREE.splitlines()) == len({span.id for span in ours})

    # One request id, in the logs of all that had it in hands.
    def who_speaks_of_it():
        return {
            name: {line["event"] for line in lines(process) if line.get("request_id") == request_id}
            for name, process in stack.processes.items()
        }

    wait_for(lambda: {"event published", "result settled"} <= set().union(*who_speaks_of_it().values()), 10, "log")
    said = who_speaks_of_it()
    assert {"request answered", "result received"} <= said["web"], said
    assert "event published" in said["relay"] | said["worker"], said
    assert "result settled" in said["worker"] | said["beat"], said
    assert any("decided" in event for event in said["consumer-worker"]), said
    assert any("delivered" in event for event in said["consumer-worker"]), said
    (accepted,) = [line for line in lines(stack.processes["web"]) if line.get("status") == 201]
    assert accepted["client"] == "e2e" and accepted["request_id"] == request_id
    for name in ("relay", "worker", "consumer-worker"):
        named = [line for line in lines(stack.processes[name]) if line.get("request_id") == request_id]
        assert all(line["transaction_id"] == transaction_id for line in named), named

    # And nothing on the way that is nobody's business, also where things fail.
    stack.post("/api/v1/transactions", {**body, "amount": "x"}, "refused-1")
    stack.post("/api/v1/transactions", {**body, "nonsense": WORDS}, "refused-2")
    requests.post(
        f"{stack.url}/api/v1/webhooks/results", data=json.dumps(body), timeout=15,
        headers={"Content-Type": "application/json", "webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,x"},
    )  # fmt: skip
    spans = json.dumps([[span.name, span.attributes] for span in collector.spans])
    for name, text in {**{n: p.log() for n, p in stack.processes.items()}, "spans": spans}.items():
        for secret in (ACCOUNT, WORDS, SECRET, SECRET.removeprefix("whsec_"), stack.key, stack.env["SECRET_KEY"]):
            assert secret not in text, f"{name} says what it must not"


def test_the_docs_show_the_tree_that_is_exported():
    assert f"```\n{TREE}\n```" in (ROOT / "docs/operations.md").read_text()
