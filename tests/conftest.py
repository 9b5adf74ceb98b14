"""Which services exist here: skip on a laptop, fail under CI. And the fixtures that every test may use."""

import json
import os
import socket
import uuid
from urllib.parse import urlsplit

import pytest

LOCAL_DATABASE = "postgres://postgres@127.0.0.1:5432/test"
LOCAL_BROKER = "amqp://guest:guest@127.0.0.1:5672//"
CI = os.environ.get("CI", "").lower() in {"1", "true"}
TEST_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def answers(url: str, default_port: int) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or default_port), 1):
            return True
    except OSError:
        return False


DATABASE_URL = os.environ.get("DATABASE_URL") or LOCAL_DATABASE
BROKER_URL = os.environ.get("BROKER_URL") or LOCAL_BROKER
HAS_POSTGRES = DATABASE_URL.startswith("postgres") and answers(DATABASE_URL, 5432)
HAS_RABBITMQ = BROKER_URL.startswith("amqp") and answers(BROKER_URL, 5672)
# TEST_ENGINE=sqlite runs the portable tests on the embedded database although PostgreSQL is there.
ON_SQLITE = os.environ.get("TEST_ENGINE") == "sqlite" or not HAS_POSTGRES

os.environ["DEBUG"] = "true"
os.environ.setdefault("SECRET_KEY", "only-for-tests")
os.environ["ALLOWED_HOSTS"] = "testserver,127.0.0.1,localhost"
os.environ["RESULT_WEBHOOK_SECRETS"] = TEST_SECRET
os.environ["CONSUMER_WEBHOOK_SECRETS"] = TEST_SECRET
os.environ.setdefault("LOG_LEVEL", "ERROR")
if ON_SQLITE:
    os.environ.pop("DATABASE_URL", None)
else:
    os.environ["DATABASE_URL"] = DATABASE_URL
os.environ["BROKER_URL"] = BROKER_URL if HAS_RABBITMQ else "filesystem:///tmp/producer-tests-broker"


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("postgres") and ON_SQLITE:
            item.add_marker(_missing("PostgreSQL", HAS_POSTGRES))
        if item.get_closest_marker("rabbitmq") and not HAS_RABBITMQ:
            item.add_marker(_missing("RabbitMQ", False))


def _missing(what: str, present: bool) -> pytest.MarkDecorator:
    if CI and not present:
        raise pytest.UsageError(
            f"{what} does not answer, and with CI=true nothing may be skipped for want of a service."
        )
    return pytest.mark.skip(reason=f"needs {what}" if not present else "this run is on SQLite")


@pytest.fixture
def api_key(db):
    from transactions.clients import create_client

    return create_client(f"client-{uuid.uuid4()}")


class Api:
    """The HTTP API through Django's test client, as a client would use it."""

    def __init__(self, client, key):
        self.client, self.key = client, key

    def request(self, method, path, body=None, *, raw=None, content_type="application/json", **headers):
        headers = {"Authorization": f"Bearer {self.key}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        headers = {k: v for k, v in headers.items() if v is not None}
        data = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        url = path if path.startswith("/") else f"/api/v1/{path}"
        if content_type is None:
            return self.client.generic(method, url, data, content_type="", headers=headers)
        return self.client.generic(method, url, data, content_type=content_type, headers=headers)

    def create(self, body=None, key=None, **headers):
        return self.request(
            "POST", "transactions", body or new_transaction(), Idempotency_Key=key or str(uuid.uuid4()), **headers
        )

    def get(self, path, **headers):
        return self.request("GET", path, **headers)


def new_transaction(**fields):
    return {
        "account_number": "DE89370400440532013000",
        "amount": "125.50",
        "currency": "EUR",
        "direction": "debit",
        **fields,
    }


@pytest.fixture
def api(client, api_key):
    client.raise_request_exception = False
    return Api(client, api_key)


@pytest.fixture
def other_api(client, db):
    from transactions.clients import create_client

    return Api(client, create_client(f"other-{uuid.uuid4()}"))
