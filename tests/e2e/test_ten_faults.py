"""Ten faults on real processes: what light, /readyz, alert and log say of each within 15 seconds (docs/operations.md)."""

import json
import operator
import os
import re
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from outbox.ids import uuid7
from producer.turned import COLOURS
from tests.faults.proxy import Proxy
from tests.private_rabbitmq import PrivateRabbitMQ
from tests.settings import DATABASE_URL
from tests.stack import ROOT, Stack, plain, wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(400)]
if "DATABASE_POOLED" in os.environ:
    # By `make test-pooled`. A relay that may not listen sleeps, and under libfaketime time.sleep() is an error.
    pytestmark.append(pytest.mark.skip(reason="libfaketime and time.sleep() do not go together"))

SECONDS = 15
PASSWORD = "an-operator-in-a-test"
OPERATIONS = (ROOT / "docs/operations.md").read_text()
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


@dataclass(frozen=True)
class Row:
    """What docs/operations.md says of one fault."""

    light: str
    colours: list[str]
    status: int
    place: str
    alert: str
    lines: list[tuple[str, list[str]]]


def table():
    """The newcomer's table, by fault."""
    section = re.search(r"^## Ten faults.*?(?=^## )", OPERATIONS, re.S | re.M).group()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    assert rows[0] == ["fault", "light", "`/readyz`", "alert", "log: process and line"]
    return {fault: _row(*cells) for fault, *cells in rows[1:]}


def _row(light, ready, alert, log):
    name, colours = re.fullmatch(r"`(\w+)` (\w+(?: or \w+)?)", light).groups()
    status, where, place = re.fullmatch(r"(200|503), `(\w+)` in (warnings|checks)", ready).groups()
    assert where == name
    lines = [(part.partition(": ")[0], re.findall(r"`([^`]+)`", part)) for part in log.split("; ")]
    assert lines and all(words for _, words in lines)
    return Row(name, colours.split(" or "), int(status), place, alert, lines)


class Watcher:
    def __init__(self, stack):
        self.stack, self.table, self.seen = stack, table(), {}
        self.operator = requests.Session()
        page = self.operator.get(f"{stack.url}/admin/login/", timeout=SECONDS)
        assert page.status_code == 200
        form = {"username": "operator", "password": PASSWORD, "csrfmiddlewaretoken": self.operator.cookies["csrftoken"]}
        self.operator.post(f"{stack.url}/admin/login/", data=form, headers={"Referer": stack.url}, timeout=SECONDS)

    def samples(self):
        text = requests.get(f"{self.stack.url}/metrics", timeout=SECONDS).text
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def lights(self):
        """As the dashboard shows them."""
        answer = self.operator.get(f"{self.stack.url}/admin/dashboard/now", timeout=SECONDS)
        assert answer.status_code == 200, (answer.status_code, answer.text[:200])
        return {light["id"]: light for light in answer.json()["lights"]}

    def ready(self):
        answer = requests.get(f"{self.stack.url}/readyz", timeout=SECONDS)
        return answer.status_code, answer.json()

    @contextmanager
    def sees(self, fault):
        """Every cell of its row within SECONDS of the fault, which the body makes. Lines of before do not count."""
        row = self.table[fault]
        self.heals(row.light)
        before = {name: len(process.log()) for name, process in self.stack.processes.items()}
        yield
        began, missing = time.monotonic(), ["everything"]
        assert requests.get(f"{self.stack.url}/livez", timeout=SECONDS).status_code == 200
        while time.monotonic() - began < SECONDS and missing:
            missing = self._missing(row, before)
        assert not missing, f"{fault}: within {SECONDS} s there is no {missing}; {self.ready()}"
        self.seen[fault] = round(time.monotonic() - began, 1)

    def _missing(self, row, before):
        # All at once: with a slow database each of them takes seconds.
        with ThreadPoolExecutor(3) as pool:
            scrape, probe, look = pool.submit(self.samples), pool.submit(self.ready), pool.submit(self.lights)
        samples, (code, body), light = scrape.result(), probe.result(), look.result()[row.light]
        missing = []
        if COLOURS[light["level"]] not in row.colours or not light["meaning"] or not light["remedy"]:
            missing.append(f"light {row.light} {row.colours}")
        if not meets(RULES[row.alert], samples):
            missing.append(f"alert {row.alert}")
        shown = body["checks"].get(row.light, "").startswith("failed") or row.place == "warnings"
        if code != row.status or row.light not in body["warnings"] or not shown:
            missing.append(f"/readyz {row.status} {row.place}")
        return missing + [f"line {line}" for line in row.lines if not self._said(*line, before)]

    def _said(self, processes, words, before):
        """Whether one of the processes has written one line, of JSON, with all of the words since the fault."""
        logs = [self.stack.processes[name].log()[before[name] :] for name in processes.split(" or ")]
        lines = "\n".join(logs).splitlines()
        return any(
            line.startswith("{") and all(word in json.dumps(json.loads(line)) for word in words) for line in lines
        )

    def heals(self, light):
        """Green, and each web process has said so: to one that has not looked since the last fault, a red light is no news."""
        wait_for(
            lambda: self.lights()[light]["level"] == "ok" and self.ready() and self._last_said(light) <= {"green"},
            60,
            f"the light {light} is green again",
        )

    def _last_said(self, light):
        """The colours that the web processes said last."""
        lines = [json.loads(line) for line in self.stack.processes["web"].log().splitlines() if line.startswith("{")]
        turns = [line for line in lines if line.get("light") == light]
        return set({line["process_name"]: line["event"].rpartition(" ")[2] for line in turns}.values())


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
    made = Stack(
        folder, DATABASE_URL, broker.url, private_broker=True, LOG_JSON="true", DJANGO_SUPERUSER_PASSWORD=PASSWORD
    )
    made.manage("createsuperuser", "--noinput", "--username", "operator", "--email", "operator@example.com")
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

    with watcher.sees("beat dead"):
        gone(stack, "beat")
    stack.beat()
    with watcher.sees("worker dead"):
        gone(stack, "worker")
    stack.worker()

    with watcher.sees("database slow"):
        proxy.delay = (0.14, 0.14)
    proxy.delay = (0.0, 0.0)

    assert os.path.exists(FAKETIME), "apt-get install libfaketime"
    ahead = {
        "LD_PRELOAD": FAKETIME,
        "FAKETIME": "+600s",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with watcher.sees("clock off"):
        stack.start("ahead", ["manage.py", "relay"], **ahead)
    gone(stack, "ahead")

    # Tried as often as OUTBOX_MAX_ATTEMPTS allows but for the last time.
    with watcher.sees("poison event, which the relay gives up"):
        given_up = insert_event(stack, topic="of no route", attempts=19)
    stack.manage("outbox", "discard", given_up, "--reason", "made by a test")
    with watcher.sees("poison event, which the Consumer refuses"):
        insert_event(stack)

    with watcher.sees("Consumer down"):
        gone(stack, "consumer-worker")
    with watcher.sees("queue deleted"):
        broker.ctl("delete_queue", "consumer.transactions.v1")

    # Both: whichever comes first delivers a result, and one of them with the right secret would now and then be it.
    gone(stack, "consumer-web")
    stack.consumer_web(RESULT_WEBHOOK_SECRET=OTHER_SECRET), stack.consumer_worker(RESULT_WEBHOOK_SECRET=OTHER_SECRET)
    watcher.heals("consumer")
    with watcher.sees("wrong secret"):
        submit_one(stack)
    gone(stack, "consumer-web"), gone(stack, "consumer-worker")
    stack.consumer_web(), stack.consumer_worker()

    with watcher.sees("disk alarm"):
        broker.ctl("set_disk_free_limit", str(10**15))
        submit_one(stack)
    broker.ctl("set_disk_free_limit", str(10**6))
    with watcher.sees("broker down"):
        broker.kill()
        submit_one(stack)
    print("\n".join(f"{fault}: seen after {seconds} s" for fault, seconds in watcher.seen.items()))
    assert list(watcher.seen) == list(watcher.table)


def insert_event(stack, topic="transactions", attempts=0):
    """One that is no CloudEvent of the contract, as no code of ours would write it."""
    event_id = str(uuid7())
    stack.sql(
        "INSERT INTO outbox_outboxmessage (id, topic, type, key, sequence, body, state, attempts, parked, claimed_by, error, channel) "
        "VALUES (%s, %s, 'transaction.created', %s, 1, %s, 'pending', %s, false, '', '', '')",
        *(event_id, topic, event_id, '{"specversion": "0.9"}', attempts),
    )
    return event_id


def simple_rules():
    return [
        rule
        for rule in RULES.values()
        if re.fullmatch(r"(\w+)(?:\{(.*)\})? (==|>=|>) ([\d.]+)", rule) and "up{" not in rule
    ]


def test_the_table_holds_ten_faults_and_alerts_that_exist():
    rows = table()
    assert len({fault.partition(",")[0] for fault in rows}) == 10
    assert all(row.alert in RULES for row in rows.values())


def test_an_expression_is_met_by_the_series_that_it_names_and_no_other():
    samples = [s for f in text_string_to_metric_families('a{b="x.dead"} 3\na{b="y"} 0\nc 1\n') for s in f.samples]
    assert meets('a{b=~".*[.]dead"} > 2', samples) and not meets('a{b=~".*[.]dead"} > 3', samples)
    assert meets('a{b="y"} == 0', samples) and not meets('a{b="y"} >= 1', samples) and not meets("d == 0", samples)
