"""Which services exist here: skip on a laptop, fail under CI. And the fixtures that every test may use."""

import json
import uuid

import hypothesis
import pytest

from tests import stack
from tests.settings import CI, DATABASE_URL, HAS_POSTGRES, HAS_RABBITMQ, ON_SQLITE

stack.TEMPLATE.server = DATABASE_URL

# A busy machine is no failure: by default an example may take 200 ms, and did not always. With CI=true the library loads
# a profile of its own, without that limit and with the same examples each time.
hypothesis.settings.register_profile("anywhere", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
if not CI:
    hypothesis.settings.load_profile("anywhere")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("django_db") or {"db", "transactional_db"} & {*item.fixturenames}:
            item.add_marker(pytest.mark.database)
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


@pytest.fixture(autouse=True)
def quiet_wakeups(request, monkeypatch):
    """No thread of ours keeps a connection to the test database; a test that wants them says so."""
    if not request.node.get_closest_marker("wakeups"):
        monkeypatch.setattr("outbox.wakeup.poke", lambda: None)
        monkeypatch.setattr("webhooks.nudge.poke", lambda: None)
        monkeypatch.setattr("webhooks.refusals.poke", lambda: None)


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
