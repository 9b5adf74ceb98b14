"""Ten faults on real processes: what light, /readyz, alert and log say of each within 15 seconds (docs/operations.md)."""

import json
import operator
import os
import re
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit, urlunsplit

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.proxy import Proxy
from tests.private_rabbitmq import PrivateRabbitMQ
from tests.settings import DATABASE_URL
from tests.stack import ROOT, Stack, plain, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(400)]

SECONDS = 15
OTHER_SECRET = "whsec_b3RoZXItc2VjcmV0LW9mLXNvbWVib2R5LWVsc2U="
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
RULES = {
    rule["alert"]: rule["expr"]
    for rule in yaml.safe_load((ROOT / "ops/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
}
_COMPARE = {"==": operator.eq, ">=": operator.ge, ">": operator.gt}


class Whole:
    """For the proxy: every chunk is a message."""

    def feed(self, data):
        return [data]

    def rest(self):
        return b""


def meets(expression, samples):
    """Whether an alert's expression (one metric, one comparison) has a series that meets it."""
    name, labels, compare, bound = re.fullmatch(r"(\w+)(?:\{(.*)\})? (==|>=|>) ([\d.]+)", expression).groups()
    wanted = re.findall(r'(\w+)(=~|=)"([^"]*)"', labels or "")
    return any(
        sample.name == name
        and all(
            re.fullmatch(value, sample.labels.get(label, "")) if how == "=~" else sample.labels.get(label) == value
            for label, how, value in wanted
        )
        and _COMPARE[compare](sample.value, float(bound))
        for sample in samples
    )


class Watcher:
    def __init__(self, stack):
        self.stack, self.table = stack, []

    def samples(self):
        text = requests.get(f"{self.stack.url}/metrics", timeout=SECONDS).text
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def light(self, name):
        return next(s.value for s in self.samples() if s.name == "condition" and s.labels["light"] == name)

    def ready(self):
        answer = requests.get(f"{self.stack.url}/readyz", timeout=SECONDS)
        return answer.status_code, answer.json()

    def sees(self, fault, light, alert, *, status=200, check=None, log=None):
        """All of it within SECONDS of the fault, which happened just now."""
        began, missing = time.monotonic(), ["everything"]
        assert requests.get(f"{self.stack.url}/livez", timeout=SECONDS).status_code == 200
        while time.monotonic() - began < SECONDS and missing:
            missing = self._missing(light, alert, status, check, log)
        assert not missing, f"{fault}: within {SECONDS} s there is no {missing}; {self.ready()}"
        self.table.append((fault, round(time.monotonic() - began, 1)))

    def _missing(self, light, alert, status, check, log):
        # Both at once: with a slow database each of them takes seconds.
        with ThreadPoolExecutor(2) as pool:
            scrape, probe = pool.submit(self.samples), pool.submit(self.ready)
        samples, (code, body) = scrape.result(), probe.result()
        missing = []
        if not any(s.name == "condition" and s.labels["light"] == light and s.value > 0 for s in samples):
            missing.append(f"light {light}")
        if not meets(RULES[alert], samples):
            missing.append(f"alert {alert}")
        if (
            code != status
            or light not in body["warnings"]
            or (check and not body["checks"][check].startswith("failed"))
        ):
            missing.append(f"/readyz {status} {check or light}")
        if log and not self._said(*log):
            missing.append(f"log {log}")
        return missing

    def _said(self, process, *words):
        lines = self.stack.processes[process].log().splitlines()
        return any(line.startswith("{") and all(w in json.dumps(json.loads(line)) for w in words) for line in lines)

    def heals(self, light):
        wait_for(lambda: self.light(light) == 0, 60, f"the light {light} is green again")


@pytest.fixture
def broker(tmp_path):
    node = PrivateRabbitMQ(tmp_path)
    node.start()
    yield node
    node.close()


@pytest.fixture
def proxy():
    made = Proxy(urlsplit(DATABASE_URL).port or 5432, Whole)
    yield made
    made.close()


@pytest.fixture
def stack(tmp_path, broker, proxy):
    folder = tmp_path / "stack"
    folder.mkdir()
    made = Stack(folder, DATABASE_URL, broker.url, private_broker=True, LOG_JSON="true")
    parts = urlsplit(made.database_url)
    login = parts.netloc.rpartition("@")[0]
    made.env["DATABASE_URL"] = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))
    yield made
    made.close()


def gone(stack, name):
    """Ends a process for good and proves it."""
    stack.processes[name].end()
    assert stack.processes[name].child.poll() == -signal.SIGKILL


def submit_one(stack):
    assert (
        stack.post("/api/v1/transactions", plain(1) | {"external_id": uuid.uuid4().hex}, uuid.uuid4().hex).status_code
        == 201
    )


def test_ten_faults_show_in_light_probe_alert_and_log(stack, broker, proxy):
    stack.web(), stack.worker(), stack.beat(), stack.relay(), stack.consumer_web(), stack.consumer_worker()
    watcher = Watcher(stack)
    wait_for(
        # Both at one time: starting processes may cross a threshold for a moment.
        lambda: (
            watcher.ready()[0] == 200
            and not watcher.ready()[1]["warnings"]
            and not any(meets(rule, watcher.samples()) for rule in simple_rules())
        ),
        60,
        "all is green at first",
    )

    gone(stack, "beat")
    watcher.sees("beat dead", "beat", "BeatDead")
    stack.beat()
    gone(stack, "worker")
    watcher.sees("worker dead", "worker", "WorkersDead")
    stack.worker()

    proxy.delay = (0.14, 0.14)
    watcher.sees("database slow", "database", "DatabaseSlow")
    proxy.delay = (0.0, 0.0)

    assert os.path.exists(FAKETIME), "apt-get install libfaketime"
    ahead = {
        "LD_PRELOAD": FAKETIME,
        "FAKETIME": "+600s",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    stack.start("ahead", ["manage.py", "relay"], **ahead)
    watcher.sees("clock off", "clock", "ClockOff")
    gone(stack, "ahead")

    stack.sql(
        "INSERT INTO outbox_outboxmessage (id, topic, type, key, sequence, body, state, attempts, parked, claimed_by, error, channel) "
        """VALUES (%s, 'transactions', 'transaction.created', 'poison', 1, '{"specversion": "0.9"}', 'pending', 0, false, '', '', '')""",
        str(uuid.uuid4()),
    )
    watcher.sees("poison event", "dead_letters", "DeadLetters", log=("consumer-worker", "dead-lettered"))

    gone(stack, "consumer-worker")
    watcher.sees("Consumer down", "consumer", "ConsumerAway")
    broker.ctl("delete_queue", "consumer.transactions.v1")
    watcher.sees("queue deleted", "queues", "QueueMissing", log=("beat", "queue was missing, declared anew"))

    stack.consumer_worker(RESULT_WEBHOOK_SECRET=OTHER_SECRET)
    watcher.heals("consumer")
    submit_one(stack)
    watcher.sees("wrong secret", "results_refused", "ResultsRefused", log=("web", "result refused", "signature-wrong"))
    gone(stack, "consumer-worker")
    stack.consumer_worker()

    broker.ctl("set_disk_free_limit", str(10**15))
    submit_one(stack)
    words = ("relay", "channel away", "blocks publishers")
    watcher.sees("disk alarm", "broker", "BrokerAway", status=503, check="broker", log=words)
    broker.ctl("set_disk_free_limit", str(10**6))
    watcher.heals("broker")

    broker.kill()
    submit_one(stack)
    words = ("beat", "broker away, ticks run in place")
    watcher.sees("broker down", "broker", "BrokerAway", status=503, check="broker", log=words)
    print("\n".join(f"{fault}: seen after {seconds} s" for fault, seconds in watcher.table))
    assert len(watcher.table) == 10


def simple_rules():
    return [
        rule
        for rule in RULES.values()
        if re.fullmatch(r"(\w+)(?:\{(.*)\})? (==|>=|>) ([\d.]+)", rule) and "up{" not in rule
    ]


def test_an_expression_is_met_by_the_series_that_it_names_and_no_other():
    samples = [s for f in text_string_to_metric_families('a{b="x.dead"} 3\na{b="y"} 0\nc 1\n') for s in f.samples]
    assert meets('a{b=~".*[.]dead"} > 2', samples) and not meets('a{b=~".*[.]dead"} > 3', samples)
    assert meets('a{b="y"} == 0', samples) and not meets('a{b="y"} >= 1', samples) and not meets("d == 0", samples)
