"""Keys: hashed, several per client, revoked at once; and no client ever reaches another's transactions."""

import hashlib
from datetime import timedelta
from unittest import mock

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

from tests.conftest import Api, new_transaction
from transactions import admission, clients
from transactions.admission import admit
from transactions.models import ApiClient, ApiKey, ClientRate, Transaction

pytestmark = pytest.mark.django_db


def status(api):
    return api.get("transactions").status_code


def test_only_the_hash_of_a_key_is_stored(api_key):
    key = ApiKey.objects.get()
    assert bytes(key.hash) == hashlib.sha256(api_key.encode()).digest()
    assert api_key.startswith(key.prefix) and len(key.prefix) == 10
    assert len(api_key) >= 43


def test_a_revoked_key_fails_on_the_next_request_and_revoking_twice_changes_nothing(api):
    assert status(api) == 200
    assert clients.revoke_keys([ApiKey.objects.get().pk])
    assert status(api) == 401
    revoked_at = ApiKey.objects.get().revoked_at
    assert not clients.revoke_keys([ApiKey.objects.get().pk])
    assert ApiKey.objects.get().revoked_at == revoked_at


def test_a_client_has_several_keys_and_each_ends_alone(api, client):
    second = Api(client, clients.add_key(ApiClient.objects.get()))
    txn = api.create().json()
    assert second.get(f"transactions/{txn['id']}").json() == txn
    clients.revoke_keys([ApiKey.objects.order_by("id").first().pk])
    assert (status(api), status(second)) == (401, 200)


def test_a_key_works_until_it_expires(api, client):
    owner = ApiClient.objects.get()
    assert status(Api(client, clients.add_key(owner, timezone.now() + timedelta(minutes=1)))) == 200
    assert status(Api(client, clients.add_key(owner, timezone.now() - timedelta(milliseconds=1)))) == 401


def test_an_inactive_client_is_out(api):
    ApiClient.objects.update(active=False)
    assert status(api) == 401


def test_creating_a_client_of_a_name_that_exists_gives_it_one_more_key(db):
    first, second = clients.create_client("acme"), clients.create_client("acme")
    assert first != second
    assert (ApiClient.objects.count(), ApiKey.objects.count(), ClientRate.objects.count()) == (1, 2, 1)


def test_last_used_is_written_at_most_once_a_minute(api):
    assert ApiKey.objects.get().last_used_at is None
    status(api)
    first = ApiKey.objects.get().last_used_at
    status(api)
    assert ApiKey.objects.get().last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(seconds=61))
    status(api)
    assert ApiKey.objects.get().last_used_at >= first


def test_the_scheme_is_read_in_any_case(api):
    assert api.get("transactions", Authorization=f"bEARER {api.key}").status_code == 200


@pytest.mark.parametrize(
    "method, tail", [("GET", ""), ("HEAD", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/events")]
)
def test_anothers_transaction_is_404_on_every_method_and_stays_as_it_was(api, other_api, method, tail):
    path = api.create()["Location"]
    before = Transaction.objects.values().get()
    unknown = "/api/v1/transactions/0199aaaa-0000-7000-8000-000000000001"
    for headers in ({}, {"If_Match": "*", "Idempotency_Key": "k"}):
        answer = other_api.request(method, path + tail, new_transaction(amount="1"), **headers)
        assert answer.status_code == 404
        like = other_api.request(method, unknown + tail, new_transaction(amount="1"), **headers)
        assert {**answer.headers, "X-Request-ID": ""} == {**like.headers, "X-Request-ID": ""}
    assert Transaction.objects.values().get() == before


def test_external_ids_of_two_clients_do_not_meet(api, other_api):
    assert api.create(new_transaction(external_id="e")).status_code == 201
    assert other_api.create(new_transaction(external_id="e")).status_code == 201
    assert len(other_api.get("transactions?external_id=e").json()["data"]) == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_request_survives_that_its_kept_connection_died(api_key):
    api = Api(Client(), api_key)
    assert status(api) == 200
    connection.connection.close()
    assert status(api) == 200
    end_the_backend()
    assert api.create().status_code == 201


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@override_settings(API_RATE_PER_SECOND=1000, API_RATE_BURST=100_000)
def test_a_create_on_a_lease_survives_that_its_kept_connection_died(api_key, monkeypatch):
    monkeypatch.setattr(admission, "LEASE_SECONDS", 3600)
    api = Api(Client(), api_key)
    for _ in range(3):
        assert api.create().status_code == 201
    hashed = clients.digest(api_key)
    assert admission.leases._leases[hashed].unused
    end_the_backend()
    # Without the lease the look-up of the key would meet the dead connection, and the create a new one.
    with mock.patch.object(admission, "_take", side_effect=AssertionError("no lease")):
        assert api.create().status_code == 201
    assert Transaction.objects.count() == 4


def end_the_backend():
    """As a restart of the server does to every connection."""
    pid = connection.connection.info.backend_pid
    killer = connection.get_new_connection(connection.get_connection_params())
    killer.autocommit = True
    with killer.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    killer.close()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_admission_is_one_statement_and_no_ping(api_key, django_assert_num_queries):
    admit(api_key)
    connection.health_check_done = False
    with mock.patch.object(connection, "is_usable") as ping, django_assert_num_queries(1):
        caller, wait = admit(api_key)
    assert (caller.name, wait, ping.called) == (ApiClient.objects.get().name, None, False)
