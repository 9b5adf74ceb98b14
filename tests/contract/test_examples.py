"""The examples of docs/consumers.md, run as a reader would: what they sign is accepted, and they refuse what is forged."""

import json
import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import requests

from outbox.testing import drain
from tests.settings import CI, TEST_SECRET
from webhooks import key_store, keys
from webhooks.fallback import WebhookPublisher
from webhooks.models import InboxMessage
from webhooks.services import apply_due
from webhooks.signing import generate_secret, load_key, sign

_MISSING = [tool for tool in ("node", "bash", "curl", "openssl") if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.django_db(transaction=True),
    # With CI=true nothing is skipped: a missing tool fails the test that wants it.
    pytest.mark.skipif(bool(_MISSING) and not CI, reason=f"needs {_MISSING}"),
]

FOLDER = Path(__file__).parents[2] / "examples"
EVENTS_SECRET = generate_secret()


class NodeConsumer:
    """examples/consumer.mjs as a process; its lines come from a thread, so that waiting for one has a deadline."""

    def __init__(self, producer_url, secrets):
        env = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
        env |= {"CONSUMER_WEBHOOK_SECRETS": secrets, "RESULT_WEBHOOK_SECRET": TEST_SECRET}
        env |= {"PRODUCER_URL": producer_url, "PORT": "0"}
        self.lines = queue.Queue()
        self.process = subprocess.Popen(
            ["node", FOLDER / "consumer.mjs"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.thread = threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout])
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.line().split()[1]}/webhooks/events"

    def line(self):
        return self.lines.get(timeout=30).strip()

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        self.thread.join(10)
        self.process.stdout.close()


@pytest.fixture
def own_ed25519_key(db):
    made = key_store.add("consumer", ed25519=True)
    keys.forget()
    yield made
    keys.forget()


@pytest.fixture
def start_node(live_server, settings):
    started = []

    def start(secrets):
        consumer = NodeConsumer(live_server.url, secrets)
        started.append(consumer)
        settings.CONSUMER_WEBHOOK_URL = consumer.url
        settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
        return consumer

    yield start
    for consumer in started:
        consumer.close()


@pytest.fixture
def shared_secret(settings):
    settings.CONSUMER_WEBHOOK_SECRETS = [EVENTS_SECRET]


def forged(body, key, now=None):
    now = int(now or time.time())
    return {
        "Content-Type": "application/cloudevents+json",
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(load_key(key), "evt_1", now, body),
    }


def test_the_node_consumer_takes_what_we_send_and_we_take_what_it_signs(api, start_node, shared_secret):
    consumer = start_node(EVENTS_SECRET)
    txn = api.create().json()
    assert len(drain(WebhookPublisher())) == 1
    assert consumer.line().endswith(" 202")
    assert apply_due(budget_seconds=10) == {"applied": 1}
    shown = api.get(f"transactions/{txn['id']}").json()
    assert shown["status"] == "succeeded" and shown["processed_data"] == {"amount": "125.50"}


def test_the_node_consumer_answers_a_copy_with_200_and_sends_the_same_result_again(api, start_node, shared_secret):
    consumer = start_node(EVENTS_SECRET)
    api.create()
    [event] = drain()
    body = event.body.encode()
    for expected, answered in ((202, "202"), (200, "200")):
        now = int(time.time())
        headers = forged(body, EVENTS_SECRET) | {"webhook-id": str(event.id), "webhook-timestamp": str(now)}
        headers["webhook-signature"] = sign(load_key(EVENTS_SECRET), str(event.id), now, body)
        assert requests.post(consumer.url, body, headers=headers, timeout=10).status_code == expected
        assert consumer.line().endswith(f" {answered}")
    assert InboxMessage.objects.get().deliveries == 2


def test_the_node_consumer_verifies_ed25519_by_the_published_key(api, start_node, own_ed25519_key, settings):
    settings.CONSUMER_WEBHOOK_SECRETS = []
    [key] = api.client.get("/.well-known/webhook-keys").json()["keys"]
    consumer = start_node(key["public_key"])
    # A public key is no secret: used as one for HMAC it would let anybody sign.
    as_hmac = "whsec_" + key["public_key"].removeprefix("whpk_")
    assert requests.post(consumer.url, b"{}", headers=forged(b"{}", as_hmac), timeout=10).status_code == 401
    api.create()
    assert len(drain(WebhookPublisher())) == 1
    assert consumer.line().endswith(" 202")


@pytest.mark.parametrize("forgery", ["stranger", "old", "future", "other body", "no signature", "malformed"])
def test_the_node_consumer_refuses_a_forged_post(start_node, shared_secret, forgery):
    consumer = start_node(EVENTS_SECRET)
    body = b'{"id":"evt_1"}'
    headers = {
        "stranger": forged(body, generate_secret()),
        "old": forged(body, EVENTS_SECRET, time.time() - 400),
        "future": forged(body, EVENTS_SECRET, time.time() + 400),
        "other body": forged(b"{}", EVENTS_SECRET),
        "no signature": {**forged(body, EVENTS_SECRET), "webhook-signature": ""},
        "malformed": {**forged(body, EVENTS_SECRET), "webhook-signature": "v1 ,, v1,é".encode("latin-1")},
    }[forgery]
    assert requests.post(consumer.url, body, headers=headers, timeout=10).status_code == 401


def run_shell(live_server, *arguments, secret=TEST_SECRET, **env):
    env = {"PATH": os.environ["PATH"], "RESULT_WEBHOOK_SECRET": secret, "PRODUCER_URL": live_server.url, **env}
    return subprocess.run([FOLDER / "send_result.sh", *arguments], env=env, capture_output=True, text=True, timeout=60)


def test_the_shell_example_sends_a_result_that_is_applied_and_gets_its_receipt(live_server, api):
    txn = api.create().json()
    again = {"WEBHOOK_ID": "res_shell", "TIMESTAMP": "2026-11-22T10:15:00Z"}
    done = run_shell(live_server, txn["id"], "1", '{"reference":"BK-1","name":"Zoë"}', **again)
    assert done.returncode == 0, done.stdout + done.stderr
    accepted, receipt = [json.loads(line) for line in done.stdout.splitlines()]
    assert accepted["status"] == "accepted" and receipt["status"] == "received" and receipt["webhook_id"] == "res_shell"
    assert apply_due(budget_seconds=10) == {"applied": 1}
    assert api.get(f"transactions/{txn['id']}").json()["processed_data"] == {"reference": "BK-1", "name": "Zoë"}
    repeated = run_shell(live_server, txn["id"], "1", '{"reference":"BK-1","name":"Zoë"}', **again)
    assert json.loads(repeated.stdout.splitlines()[0]) == {"status": "applied"}


def test_the_shell_example_with_a_wrong_secret_is_refused_and_fails(live_server, api):
    done = run_shell(live_server, api.create().json()["id"], "1", "{}", secret=generate_secret())
    assert done.returncode != 0 and '"status":401' in done.stdout.replace(" ", "")
    assert not InboxMessage.objects.exists()
