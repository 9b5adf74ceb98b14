"""One key, one effect, one answer: replayed, refused, waited for, and remembered after the answer is gone."""

import contextlib
import time
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test import Client

from tests.conftest import Api, new_transaction
from tests.transactions.threads import at_once, in_thread
from transactions import idempotency
from transactions.idempotency import Answer, Claim
from transactions.models import HistoryEntry, IdempotencyKey, Transaction

pytestmark = pytest.mark.django_db


def events_of(txn_id):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM outbox_outboxmessage WHERE key = %s", [txn_id])
        return cursor.fetchone()[0]


def same(first, again):
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (again.get("Location"), again.get("ETag")) == (first.get("Location"), first.get("ETag"))
    assert (first["Idempotent-Replayed"], again["Idempotent-Replayed"]) == ("false", "true")


def test_a_replay_is_the_first_answer_to_the_byte_even_after_a_change(api):
    body = new_transaction(metadata={"zz": 1, "a": {"é": 1.5}})
    first = api.create(body, key="k")
    api.request("PATCH", first["Location"], {"description": "later"}, If_Match="*")
    same(first, api.create(body, key="k"))
    assert Transaction.objects.count() == 1
    assert events_of(first.json()["id"]) == 2


def test_bare_and_quoted_are_the_same_key(api):
    first = api.create(key="abc def")
    same(first, api.create(key='"abc def"'))
    first = api.create(key=r'"a\"b\\c,d"')
    same(first, api.create(key=r' "a\"b\\c,d" '))


@pytest.mark.parametrize("key", ["x", "x" * 255, f'"{"x" * 255}"', "!#$%&'()*+,-./:;<=>?@[]^_`{|}~", '","', "a  b"])
def test_every_key_of_1_to_255_printable_characters_is_taken(api, key):
    assert api.create(key=key).status_code == 201


def test_the_same_request_in_another_spelling_is_the_same_request(api):
    first = api.request(
        "POST",
        "transactions",
        raw=b'{"account_number":"A1","amount":"1","currency":"EUR","direction":"debit","metadata":{"a":100}}',
        Idempotency_Key="k",
    )
    again = api.request(
        "POST",
        "transactions",
        raw=b' {"metadata":{"a":1e2},\n"direction":"debit","currency":"\\u0045UR","amount":"1","account_number":"A1"}',
        Idempotency_Key="k",
    )
    same(first, again)


@pytest.mark.parametrize(
    "other",
    [
        lambda api, txn: api.create(new_transaction(amount="125.5"), key="k"),
        lambda api, txn: api.create(new_transaction(metadata={"a": True}), key="k"),
        lambda api, txn: api.create(new_transaction(metadata={}, description=None), key="k"),
        lambda api, txn: api.request("POST", "transactions/batch", {"transactions": [new_transaction()]}, Idempotency_Key="k"),
        lambda api, txn: api.request("PATCH", f"transactions/{txn}", new_transaction(), If_Match="*", Idempotency_Key="k"),
        lambda api, txn: api.request("DELETE", f"transactions/{txn}", Idempotency_Key="k"),
    ],
)  # fmt: skip
def test_another_request_with_the_key_is_422_and_changes_nothing(api, other):
    txn = api.create(key="k").json()
    answer = other(api, txn["id"])
    assert (answer.status_code, answer.json()["transaction_id"]) == (422, txn["id"])
    assert answer.json()["type"].endswith("/idempotency-key-reused")
    assert (Transaction.objects.get().version, Transaction.objects.get().status) == (1, "pending")


def test_two_clients_with_the_same_key_never_meet(api, other_api):
    first, other = api.create(key="k"), other_api.create(new_transaction(amount="1"), key="k")
    assert other.status_code == 201
    assert first.json()["id"] != other.json()["id"]
    same(first, api.create(key="k"))
    same(other, other_api.create(new_transaction(amount="1"), key="k"))


@pytest.mark.parametrize(
    "keys", [("x" * 254 + "a", "x" * 254 + "b"), ("a" + "x" * 254, "b" + "x" * 254), ("k", "K"), ("k", "k.")]
)
def test_keys_that_differ_anywhere_are_two_keys(api, keys):
    first, second = [api.create(key=key) for key in keys]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


def test_a_new_key_of_the_same_client_replays_too(api, client):
    from transactions.clients import add_key
    from transactions.models import ApiKey

    first = api.create(key="k")
    rotated = Api(client, add_key(ApiKey.objects.get().client))
    same(first, rotated.create(key="k"))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_change_with_a_key_happens_once_and_replays_whatever_the_tag_is_now(api, method):
    created = api.create()
    change = {"body": new_transaction(description="x"), "If_Match": created["ETag"], "Idempotency_Key": "change"}
    first = api.request(method, created["Location"], **change)
    assert first.status_code in (200, 204)
    same(first, api.request(method, created["Location"], **change))
    assert Transaction.objects.get().version == 2
    assert HistoryEntry.objects.count() == events_of(created.json()["id"]) == 2


def test_a_request_that_fails_stores_nothing_and_the_key_stays_free(api):
    assert api.create(new_transaction(amount="0"), key="k").status_code == 422
    taken = api.create(new_transaction(external_id="e"))
    assert api.create(new_transaction(external_id="e"), key="k").status_code == 409
    assert api.request("PATCH", taken["Location"], {}, If_Match='"x"', Idempotency_Key="k").status_code == 412
    assert api.request("DELETE", f"transactions/{uuid.uuid4()}", Idempotency_Key="k").status_code == 404
    assert IdempotencyKey.objects.count() == 1
    assert api.create(key="k").status_code == 201


def prune():
    IdempotencyKey.objects.update(created_at=idempotency.timezone.now() - timedelta(days=31))
    assert idempotency.prune_once() == 1
    assert idempotency.prune_once() == 0


def test_after_the_snapshot_is_pruned_the_key_shows_the_transaction_as_it_is_and_never_creates_again(api):
    first = api.create(key="k")
    api.request("PATCH", first["Location"], {"description": "later"}, If_Match="*")
    prune()
    again = api.create(key="k")
    assert (again.status_code, again["Idempotent-Replayed"], again["Location"]) == (201, "true", first["Location"])
    assert again.json() == api.get(first["Location"]).json()
    assert again["ETag"] == api.get(first["Location"])["ETag"]
    assert api.create(new_transaction(amount="1"), key="k").status_code == 422
    assert Transaction.objects.count() == 1


def test_a_pruned_batch_shows_its_transactions_in_their_order(api):
    body = {"transactions": [new_transaction(amount=str(n)) for n in (3, 1, 2)]}
    first = api.request("POST", "transactions/batch", body, Idempotency_Key="k")
    prune()
    again = api.request("POST", "transactions/batch", body, Idempotency_Key="k")
    assert (again.status_code, again.json()) == (201, first.json())


def test_a_pruned_cancellation_is_still_204(api):
    path = api.create()["Location"]
    api.request("DELETE", path, Idempotency_Key="k")
    IdempotencyKey.objects.exclude(key="k").delete()
    prune()
    assert api.request("DELETE", path, Idempotency_Key="k").status_code == 204


def test_the_filter_finds_what_a_key_wrote(api, other_api):
    txn = api.create(key="k").json()
    batch = api.request(
        "POST", "transactions/batch", {"transactions": [new_transaction()] * 3}, Idempotency_Key="b"
    ).json()
    found = lambda key, who=api: [row["id"] for row in who.get(f"transactions?idempotency_key={key}").json()["data"]]  # noqa: E731
    assert found("k") == [txn["id"]]
    assert found("b") == [row["id"] for row in reversed(batch["data"])]
    assert found("nothing") == found("k", other_api) == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_20_requests_at_once_make_one_transaction_one_event_and_equal_answers(api_key):
    def call():
        while True:
            answer = Api(Client(), api_key).create(key="k")
            if answer.status_code != 409:
                return answer
            assert answer["Retry-After"]

    answers = at_once([call] * 20)
    assert {answer.status_code for answer in answers} == {201}
    assert len({(answer.content, answer["Location"], answer["ETag"]) for answer in answers}) == 1
    assert sorted(answer["Idempotent-Replayed"] for answer in answers) == ["false"] + ["true"] * 19
    assert Transaction.objects.count() == HistoryEntry.objects.count() == events_of(answers[0].json()["id"]) == 1


@pytest.fixture
def held_key(api_key):
    """A key that another connection has claimed and not yet committed."""
    from transactions.models import ApiClient

    raw = connection.get_new_connection({**connection.get_connection_params(), "connect_timeout": 3})
    raw.autocommit = False
    client_id = ApiClient.objects.get().id
    with raw.cursor() as cursor:
        cursor.execute(
            "INSERT INTO transactions_idempotencykey (client_id, key, fingerprint, transactions, status, headers, body)"
            " VALUES (%s, 'k', %s, '[]', 201, '{}', '{}')",
            [client_id, b"\0" * 32],
        )
    yield raw
    raw.close()


def wait_until_blocked():
    """Until some backend of this database waits for a lock."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
    raise AssertionError("nobody waits")


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["rollback", "close"])
def test_when_the_holder_rolls_back_or_dies_the_waiter_becomes_the_owner(api_key, held_key, end):
    waiting = in_thread(lambda: Api(Client(), api_key).create(key="k"))
    wait_until_blocked()
    getattr(held_key, end)()
    answer = waiting.result(30)
    assert (answer.status_code, answer["Idempotent-Replayed"]) == (201, "false")
    assert Transaction.objects.count() == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("held", ["an external_id", "a table"])
def test_a_wait_for_anything_but_the_key_is_503(api_key, held):
    first = Api(Client(), api_key).create(new_transaction(external_id="E"))
    raw = connection.get_new_connection({**connection.get_connection_params(), "connect_timeout": 3})
    raw.autocommit = False
    with contextlib.closing(raw), raw.cursor() as cursor:
        if held == "a table":
            cursor.execute("LOCK TABLE transactions_transaction IN ACCESS EXCLUSIVE MODE")
        else:
            # Its row is about to go; until then nobody can say whether the id is taken.
            cursor.execute("UPDATE transactions_transaction SET external_id = 'F' WHERE id = %s", [first.json()["id"]])
        answer = Api(Client(), api_key).create(new_transaction(external_id="E"), key="fresh")
    assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[1]) == (503, "service-unavailable")
    assert int(answer["Retry-After"]) >= 1
    assert not IdempotencyKey.objects.filter(key="fresh").exists()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_when_the_holder_takes_too_long_it_is_409_and_the_retry_succeeds(api_key, held_key):
    answer = Api(Client(), api_key).create(key="k")
    assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[1]) == (409, "idempotency-key-in-use")
    assert int(answer["Retry-After"]) >= 1
    held_key.rollback()
    assert Api(Client(), api_key).create(key="k").status_code == 201


@pytest.mark.django_db(transaction=True)
def test_a_rollback_after_the_claim_frees_the_key(api_key):
    from transactions.models import ApiClient

    claim = Claim(ApiClient.objects.get().id, "k", b"\1" * 32)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert idempotency.claim_key(claim, Answer(201, "{}"))
        assert not idempotency.claim_key(claim, Answer(201, "{}"))
        raise ZeroDivisionError
    assert not IdempotencyKey.objects.exists()
