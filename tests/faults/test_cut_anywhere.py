"""The database's connection cut at random bytes of any statement and of any answer: 503 and never another 5xx."""

import random
from collections import Counter

import pytest
from django.db import DatabaseError, InterfaceError, connection

from tests.faults.proxy import DOWN, UP, Cutter, Proxy
from tests.faults.replayer import result, sign
from tests.faults.streams import PostgresMessages, every_offset
from tests.stack import SECRET
from transactions.models import HistoryEntry, Transaction
from webhooks.services import apply_due

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

COUNT = 30
TRIES = 40


class Anywhere(Cutter):
    """One statement in three is cut: mostly somewhere in its answer, else before it has arrived."""

    def __init__(self, seed):
        super().__init__(lambda message: message[:1] == b"Q", every_offset, ())
        self.random = random.Random(seed)

    def where(self, message):
        if not self.matches(message) or self.random.random() > 0.33:
            return None
        if self.random.random() < 0.85:
            self.done.append((DOWN, self.random.choice([*range(19), *range(19, 1500, 7)])))
        else:
            self.done.append((UP, self.random.choice(every_offset(message))))
        return self.done[-1]


@pytest.fixture
def proxy():
    before = dict(connection.settings_dict)
    made = Proxy(int(before["PORT"] or 5432), PostgresMessages)
    connection.close()
    connection.settings_dict.update(HOST="127.0.0.1", PORT=str(made.port))
    connection.settings_dict["OPTIONS"] = {**before["OPTIONS"], "sslmode": "disable"}
    yield made
    made.cutter = None
    connection.close()
    connection.settings_dict.update(before)
    made.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_byte_is_cut_the_api_says_503_and_the_same_key_gives_one_transaction(proxy, api, settings, seed):
    settings.RESULT_WEBHOOK_SECRETS = [SECRET]
    cutter, answers, created = Anywhere(seed), Counter(), {}
    proxy.cutter = cutter

    def until(good, name, ask):
        for _ in range(TRIES):
            answer = ask()
            answers[name, answer.status_code] += 1
            assert answer.status_code in {*good, 503}, (name, answer.status_code, answer.content)
            if answer.status_code in good:
                return answer
        raise AssertionError(f"{name} never succeeded")

    for number in range(COUNT):
        key = f"{seed}-{number}"
        txn = until({201}, "create", lambda: api.create(key=key)).json()  # noqa: B023
        created[key] = txn["id"]
        path = f"transactions/{txn['id']}"
        if number % 3 == 0:
            until({200}, "change", lambda: api.request("PATCH", path, {"description": "x"}, If_Match="*"))  # noqa: B023
        if number % 5 == 0:
            until({200}, "read", lambda: api.get(path))  # noqa: B023
            until({200}, "history", lambda: api.get(f"{path}/events"))  # noqa: B023
            until({200}, "list", lambda: api.get("transactions?limit=2"))
        body, webhook_id = result(txn["id"], 2 if number % 3 == 0 else 1), f"res_{seed}_{number}"
        headers = {name: value for name, value in sign(webhook_id, body).items() if name != "Content-Type"}
        until(
            {200, 202},
            "result",
            lambda: api.request("POST", "webhooks/results", raw=body.encode(), **headers),  # noqa: B023
        )
        try:
            apply_due(budget_seconds=1)
        except (DatabaseError, InterfaceError):
            connection.close()
    proxy.cutter = None
    connection.close()
    for key, txn_id in created.items():
        assert api.create(key=key).json()["id"] == txn_id
    assert Transaction.objects.count() == COUNT
    applied = HistoryEntry.objects.filter(kind="result", state="applied").values_list("transaction_id", flat=True)
    assert max(Counter(applied).values()) == 1
    assert len(cutter.done) > COUNT and answers["create", 503], "hardly anything was cut"
