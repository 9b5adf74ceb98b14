"""The database refuses by itself what the code must never write."""

from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from outbox.ids import uuid7
from transactions.models import ApiClient, IdempotencyKey

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def insert(api_key):
    """A raw INSERT of a good row with some columns changed, as a defect or a psql session would write it."""

    def run(**changed):
        txn_id = uuid7()
        row = {
            "id": str(txn_id) if connection.vendor == "postgresql" else txn_id.hex,
            "client_id": ApiClient.objects.first().id,
            "external_id": None, "account_number": "A1", "amount": "1.00", "currency": "EUR", "direction": "debit",
            "transaction_date": NOW, "description": "", "metadata": "{}", "status": "pending", "version": 1,
            "overdue": False, "resends": 0, "created_at": NOW, "updated_at": NOW, **changed,
        }  # fmt: skip
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO transactions_transaction ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
                list(row.values()),
            )

    return run


def test_a_good_row_is_taken(insert):
    insert()


@pytest.mark.parametrize(
    "changed",
    [
        *({"amount": amount} for amount in ("0", "-1", "-0.0001", None)),
        *({"currency": currency} for currency in ("eur", "EU", "E1R", "", "ЕUR", None)),
        *({"direction": direction} for direction in ("DEBIT", "", None)),
        *({"status": status} for status in ("done", "", "PENDING", None)),
        *({"version": version} for version in (0, -1)),
        *({"status": status} for status in ("succeeded", "failed")),
        {"updated_at": datetime(2026, 11, 21, tzinfo=UTC)},
    ],
    ids=str,
)
def test_a_bad_row_is_refused(insert, changed):
    with pytest.raises(DatabaseError):
        insert(**changed)


def test_an_external_id_is_unique_per_client_and_many_rows_have_none(insert):
    insert(external_id="e")
    insert()
    insert()
    other = ApiClient.objects.create(name="other")
    insert(external_id="e", client_id=other.id)
    with pytest.raises(IntegrityError):
        insert(external_id="e")


def test_a_key_is_unique_per_client(api_key):
    owner, other = ApiClient.objects.get(), ApiClient.objects.create(name="other")
    for client in (owner, other):
        IdempotencyKey.objects.create(client=client, key="k", fingerprint=b"")
    with pytest.raises(IntegrityError), transaction.atomic():
        IdempotencyKey.objects.create(client=owner, key="k", fingerprint=b"")


@pytest.mark.postgres
def test_a_transaction_of_no_client_is_refused(insert):
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(client_id=10**9)
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.postgres
def test_an_amount_with_more_digits_than_any_currency_is_not_rounded_silently(insert):
    with pytest.raises(DatabaseError):
        insert(amount="1000000000000000")
