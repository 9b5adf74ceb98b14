"""No amount changes on its way: what is submitted is what is stored, told, sent on and read."""

import json
import tracemalloc
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.db import connection
from django.test import Client, override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Api, new_transaction
from transactions import interventions
from transactions.models import Transaction
from transactions.money import CURRENCIES
from transactions.parsing import canonical
from transactions.serializers import MAX_METADATA_BYTES, _is_short, etag, read_new, represent

pytestmark = pytest.mark.django_db

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def money(draw):
    """An amount as a client may write it, and its currency."""
    currency = draw(st.sampled_from(sorted(CURRENCIES)))
    digits = draw(st.integers(0, CURRENCIES[currency]))
    whole = draw(st.integers(0, 10**15 - 1))
    fraction = draw(st.text("0123456789", min_size=digits, max_size=digits))
    if whole == 0 and not fraction.strip("0"):
        whole = 1
    return f"{whole}.{fraction}" if fraction else str(whole), currency


texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def exact(raw):
    """JSON with its numbers as text, so that a float on the way would show."""
    return json.loads(raw, parse_float=lambda text: pytest.fail(f"a float: {text}"))


@override_settings(API_RATE_PER_SECOND=1_000_000, API_RATE_BURST=1_000_000)
@given(money())
@QUICK
def test_no_amount_changes_between_submit_row_event_and_read(api_key, given_money):
    amount, currency = given_money
    api = Api(Client(), api_key)
    answer = api.create(new_transaction(amount=amount, currency=currency))
    assert answer.status_code == 201, answer.content
    txn = exact(answer.content)
    assert isinstance(txn["amount"], str)
    assert Decimal(txn["amount"]) == Decimal(amount)
    assert len(txn["amount"].partition(".")[2]) == CURRENCIES[currency]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT CAST(t.amount AS text), o.body FROM transactions_transaction t"
            " JOIN outbox_outboxmessage o ON o.key = %s WHERE t.id = %s",
            [txn["id"], uuid.UUID(txn["id"]) if connection.vendor == "postgresql" else uuid.UUID(txn["id"]).hex],
        )
        stored, body = cursor.fetchone()
    assert Decimal(stored) == Decimal(amount) and "e" not in stored.lower()
    assert exact(body)["data"]["transaction"] == txn
    assert exact(api.get(answer["Location"]).content)["amount"] == txn["amount"]
    assert Transaction.objects.get(id=txn["id"]).amount == Decimal(amount)
    again = exact(
        api.request(
            "PUT", answer["Location"], new_transaction(amount=txn["amount"], currency=currency), If_Match="*"
        ).content
    )
    assert (again["amount"], again["version"]) == (txn["amount"], 1)


@override_settings(API_RATE_PER_SECOND=1_000_000, API_RATE_BURST=1_000_000)
@given(st.dictionaries(texts, values, max_size=5), texts)
@QUICK
def test_metadata_and_text_read_back_equal(api_key, metadata, description):
    api = Api(Client(), api_key)
    answer = api.create(new_transaction(metadata=metadata, description=description))
    assert answer.status_code == 201, answer.content
    read = api.get(answer["Location"])
    assert read.json() == answer.json()
    assert (read.json()["metadata"], read.json()["description"]) == (metadata, description)
    unchanged = api.request("PATCH", answer["Location"], {"metadata": metadata}, If_Match=answer["ETag"])
    assert (unchanged.status_code, unchanged.json()["version"]) == (200, 1)


def test_the_row_says_what_the_answer_said(api):
    body = new_transaction(
        external_id="e", description="d", metadata={"a": [1]}, transaction_date="1999-12-31T23:59:59.123456Z"
    )
    shown = api.create(body).json()
    assert represent(Transaction.objects.get()) == shown


@pytest.fixture
def withdrawn(api, monkeypatch):
    """Two transactions, in yen and in guilders, and then a list of currencies that has neither any more."""
    made = [api.create(new_transaction(currency=code, amount="125")) for code in ("JPY", "XCG")]
    for code in ("JPY", "XCG"):
        monkeypatch.delitem(CURRENCIES, code)
    assert [api.create(new_transaction(currency=code, amount="125")).status_code for code in ("JPY", "XCG")] == [
        422
    ] * 2
    return made


def test_what_is_stored_in_a_currency_that_left_the_list_reads_as_it_was_answered(api, withdrawn):
    shown = [answer.json() for answer in withdrawn]
    assert [txn["amount"] for txn in shown] == ["125", "125.00"]
    assert api.get("transactions").json()["data"] == shown[::-1]
    assert [api.get(answer["Location"]).json() for answer in withdrawn] == shown
    assert api.get("transactions?currency=XCG").json()["data"] == shown[1:]
    assert api.get("transactions?currency=BGN").status_code == 400


def test_it_can_be_changed_but_for_a_currency_that_is_sent(api, withdrawn):
    yen, guilders = withdrawn
    changed = api.request("PATCH", yen["Location"], {"description": "x"}, If_Match=yen["ETag"])
    assert (changed.status_code, changed.json()["amount"]) == (200, "125"), changed.content
    for body, pointer in (
        ({"amount": "1.5"}, "#/amount"),
        ({"currency": "JPY"}, "#/currency"),
        (new_transaction(currency="JPY", amount="125"), "#/currency"),
    ):
        method = "PUT" if "direction" in body else "PATCH"
        answer = api.request(method, yen["Location"], body, If_Match="*")
        assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [pointer])
    amount = api.request("PATCH", guilders["Location"], {"amount": "1.5"}, If_Match="*")
    assert (amount.status_code, amount.json()["amount"]) == (200, "1.50")
    other = api.request("PATCH", guilders["Location"], {"currency": "EUR"}, If_Match="*")
    assert (other.status_code, other.json()["amount"], other.json()["currency"]) == (200, "1.50", "EUR")


def test_it_can_be_canceled_by_its_client_and_by_an_operator(api, withdrawn):
    yen, guilders = withdrawn
    assert api.request("DELETE", yen["Location"]).status_code == 204
    euros = api.create().json()["id"]
    ids = [uuid.UUID(guilders.json()["id"]), uuid.UUID(euros)]
    assert interventions.cancel(ids) == ids


def test_a_currency_with_fewer_digits_than_before_shows_what_was_stored_with_more(api, monkeypatch):
    made = api.create(new_transaction(amount="125.50"))
    monkeypatch.setitem(CURRENCIES, "EUR", 0)
    assert api.get(made["Location"]).json() == made.json()
    changed = api.request("PATCH", made["Location"], {"description": "x"}, If_Match=made["ETag"])
    assert (changed.status_code, changed.json()["amount"]) == (200, "125.50")


def test_metadata_far_too_long_is_not_spelled_out_to_see_that():
    """`1e308` is five bytes of a body and 309 as compact JSON: a body of 2 MiB became 100."""
    body = new_transaction(metadata={"a": [int(1e308)] * 50_000})
    tracemalloc.start()
    try:
        _, errors = read_new(body)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert [error["pointer"] for error in errors] == ["#/metadata"]


NUMBERS = st.integers(-(10**1000), 10**1000) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text(max_size=2), NUMBERS, min_size=1, max_size=30))
def test_metadata_of_numbers_that_is_short_for_certain_is_short(metadata):
    assert not _is_short(metadata) or len(canonical(metadata)) <= MAX_METADATA_BYTES
    assert len(canonical(metadata)) <= 6 * sum(value_size(value) + len(name) + 1 for name, value in metadata.items())


def value_size(value):
    """What `_is_short` takes for a number, in units of six bytes."""
    return 5 if isinstance(value, float) else value.bit_length() // 16 + 1


@given(st.dictionaries(st.text(min_size=1, max_size=400), st.text(max_size=400), min_size=1, max_size=5))
def test_metadata_that_is_short_for_certain_is_short(metadata):
    if _is_short(metadata):
        assert len(canonical(metadata)) <= MAX_METADATA_BYTES
    else:
        assert sum(map(len, (*metadata, *metadata.values()))) > 1300


@pytest.mark.parametrize("size, status", [(8 * 1024, 201), (8 * 1024 + 1, 422)])
def test_metadata_of_8_kib_is_taken_and_one_byte_more_is_not(api, size, status):
    metadata = {"a": "é" * ((size - 8) // 2) + "x" * ((size - 8) % 2)}
    assert len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()) == size
    assert api.create(new_transaction(metadata=metadata)).status_code == status


def test_50_keys_of_metadata_are_taken(api):
    assert api.create(new_transaction(metadata={str(n): n for n in range(50)})).status_code == 201


@pytest.mark.parametrize("year", [2026, 2038, 2041, 2400])
def test_each_microsecond_has_its_tag_and_those_of_today_are_what_they_were(year):
    start = datetime(year, 6, 1, 12, tzinfo=UTC)
    moments = [start + timedelta(microseconds=n) for n in range(2000)]
    tags = [etag(SimpleNamespace(version=1, updated_at=moment)) for moment in moments]
    assert len(set(tags)) == len(tags)
    assert sorted(tags, key=lambda tag: int(tag.strip('"')[2:], 16)) == tags
    if year == 2026:
        assert tags == [f'"1-{int(moment.timestamp() * 1_000_000):x}"' for moment in moments]
