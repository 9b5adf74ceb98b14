"""The official Standard Webhooks libraries as peers: what they sign we accept, what we sign they verify, no forgery."""

import hashlib
import json
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.settings import CI, TEST_SECRET
from webhooks.models import InboxMessage
from webhooks.signing import generate_secret, load_key, sign

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "ops" / "peers"
BODIES = ["{}", '{"name":"Zoë €"}', "x" * 20_000, "not json\n", '{"a": 1.0, "b":[]}']


class Python:
    """PyPI `standardwebhooks`."""

    def sign(self, secret, webhook_id, timestamp, body):
        return Webhook(secret).sign(webhook_id, datetime.fromtimestamp(timestamp, UTC), body)

    def verifies(self, secret, webhook_id, timestamp, body, signature):
        headers = {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}
        try:
            Webhook(secret).verify(body, headers)
        except json.JSONDecodeError:
            return True  # it reads the JSON after it has verified
        except WebhookVerificationError:
            return False
        return True


class JavaScript:
    """npm `standardwebhooks`."""

    def __init__(self, folder):
        self.folder = folder

    def sign(self, secret, webhook_id, timestamp, body):
        return self._ask(op="sign", secret=secret, id=webhook_id, timestamp=timestamp, body=body)

    def verifies(self, secret, webhook_id, timestamp, body, signature):
        # It reads the JSON after it has verified, and says no to what is none: so only JSON is shown to it.
        return self._ask(op="verify", secret=secret, id=webhook_id, timestamp=timestamp, body=body, signature=signature)

    def _ask(self, **request):
        done = subprocess.run(
            ["node", self.folder / "peer.cjs"], input=json.dumps([request]), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)[0]


@pytest.fixture(scope="session")
def javascript():
    """Installed from the lock file into var/, once for each version of it."""
    if not (shutil.which("node") and shutil.which("npm")):
        _missing("Node with npm")
    lock = hashlib.sha256((PEERS / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = ROOT / "var" / "peers" / lock
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(PEERS, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
        if done.returncode:
            _missing(f"the npm registry ({done.stderr.strip()[:200]})")
        (folder / "installed").touch()
    shutil.copy(PEERS / "peer.cjs", folder)
    return JavaScript(folder)


def _missing(what):
    if CI:
        pytest.fail(f"needs {what}, and with CI=true nothing may be skipped")
    pytest.skip(f"needs {what}")


@pytest.fixture(params=["python", "javascript"])
def peer(request):
    return Python() if request.param == "python" else request.getfixturevalue("javascript")


def is_json(body):
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{len(body)} characters")
def test_the_door_accepts_what_the_peer_signs(peer, client, body):
    now = int(time.time())
    headers = {"webhook-id": "msg_peer", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = peer.sign(TEST_SECRET, "msg_peer", now, body)
    answer = client.post("/api/v1/webhooks/results", body.encode(), content_type="application/json", headers=headers)
    assert answer.status_code == 202 and bytes(InboxMessage.objects.get().body) == body.encode()


@pytest.mark.parametrize("body", [body for body in BODIES if is_json(body)], ids=lambda body: f"{len(body)} characters")
def test_the_peer_verifies_what_we_sign_and_refuses_what_is_changed(peer, body):
    now = int(time.time())
    own, other = generate_secret(), generate_secret()
    signature = sign([load_key(other), load_key(own)], "evt_1", now, body.encode())
    assert peer.verifies(own, "evt_1", now, body, signature) is True
    assert peer.verifies(other, "evt_1", now, body, signature) is True
    assert peer.verifies(generate_secret(), "evt_1", now, body, signature) is False
    assert peer.verifies(own, "evt_2", now, body, signature) is False
    assert peer.verifies(own, "evt_1", now - 1, body, signature) is False
    assert peer.verifies(own, "evt_1", now, body + " ", signature) is False
