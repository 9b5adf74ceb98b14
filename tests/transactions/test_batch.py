"""Up to 1,000 at once: all or nothing, pointers to each bad item, one key."""

import json

import pytest
from django.db import connection

from tests.conftest import new_transaction
from transactions.models import HistoryEntry, IdempotencyKey, Transaction

pytestmark = pytest.mark.django_db


def batch(api, items, **options):
    return api.request("POST", "transactions/batch", {"transactions": items}, Idempotency_Key="b", **options)


def pointers(answer):
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    assert not Transaction.objects.exists() and not IdempotencyKey.objects.exists()
    return [error["pointer"] for error in answer.json()["errors"]]


def test_a_batch_writes_everything_that_single_requests_write(api):
    items = [new_transaction(amount=f"{n}.01", external_id=f"e-{n}", metadata={"n": n}) for n in range(1, 1001)]
    answer = batch(api, items)
    assert answer.status_code == 201
    assert "Location" not in answer and "ETag" not in answer
    data = answer.json()["data"]
    assert [(row["amount"], row["external_id"]) for row in data] == [(i["amount"], i["external_id"]) for i in items]
    assert [row["id"] for row in data] == sorted(row["id"] for row in data)
    assert api.get(f"transactions/{data[500]['id']}").json() == data[500]
    assert Transaction.objects.count() == HistoryEntry.objects.count() == 1000
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT key) FROM outbox_outboxmessage WHERE type = 'transaction.created'")
        assert cursor.fetchone()[0] == 1000


@pytest.mark.parametrize("items", [[], None, {}, "x", 7, [new_transaction()] * 1001], ids=lambda value: repr(value)[:8])
def test_0_or_1001_items_or_no_list_is_422_at_transactions(api, items):
    assert pointers(batch(api, items)) == ["#/transactions"]


def test_without_the_member_it_is_422_at_transactions(api):
    answer = api.request("POST", "transactions/batch", {}, Idempotency_Key="b")
    assert pointers(answer) == ["#/transactions"]


def test_each_bad_item_is_pointed_at_and_nothing_is_written(api):
    items = [
        new_transaction(),
        new_transaction(amount=1),
        7,
        None,
        new_transaction(foo=1),
        new_transaction(metadata={"a": "\n"}),
    ]
    assert pointers(batch(api, items)) == [
        *("#/transactions/1/amount", "#/transactions/2", "#/transactions/3", "#/transactions/4/foo"),
        "#/transactions/5/metadata/a",
    ]


def test_an_unknown_member_beside_the_list_is_422(api):
    answer = api.request(
        "POST", "transactions/batch", {"transactions": [new_transaction()], "x": 1}, Idempotency_Key="b"
    )
    assert pointers(answer) == ["#/x"]


def test_one_external_id_twice_in_a_batch_is_422_at_the_second(api):
    items = [new_transaction(external_id="e"), new_transaction(), new_transaction(external_id="e")]
    assert pointers(batch(api, items)) == ["#/transactions/2/external_id"]


def test_an_external_id_that_exists_is_409_and_nothing_is_written(api):
    first = api.create(new_transaction(external_id="e-3")).json()
    answer = batch(api, [new_transaction(external_id=f"e-{n}") for n in range(5)])
    assert (answer.status_code, answer.json()["transaction_id"]) == (409, first["id"])
    assert Transaction.objects.count() == IdempotencyKey.objects.count() == 1


def test_a_batch_is_replayed_whole(api):
    items = [new_transaction(description=text) for text in ("a,b", '"\\', "Zürich 😀")]
    first, again = batch(api, items), batch(api, items)
    assert (again.status_code, again.content, again["Idempotent-Replayed"]) == (201, first.content, "true")
    assert Transaction.objects.count() == 3
    assert IdempotencyKey.objects.get().transactions == [row["id"] for row in first.json()["data"]]
    with connection.cursor() as cursor:
        cursor.execute("SELECT key, body FROM outbox_outboxmessage ORDER BY key")
        told = [(key, json.loads(body)["data"]["transaction"]) for key, body in cursor.fetchall()]
    assert told == [(row["id"], row) for row in first.json()["data"]]


def test_a_batch_of_only_bad_items_gets_a_bounded_answer(api):
    answer = batch(api, [{"x": 1}] * 1000)
    assert len(pointers(answer)) == 100
