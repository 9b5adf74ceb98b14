"""Creates without a look at the key first: the rate still holds over all processes, a bad key still writes nothing."""

from unittest import mock

import pytest
from django.db import OperationalError, connection
from django.test import override_settings

from outbox.models import OutboxMessage
from tests.transactions.threads import at_once
from transactions import admission
from transactions.admission import LEASE_MOST, Leases, admit, admit_unproven
from transactions.clients import revoke_keys
from transactions.models import ApiClient, ApiKey, ClientRate, IdempotencyKey, Transaction

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]
# So slow that nothing is refilled during a test.
SLOW = {"API_RATE_PER_SECOND": 0.0001}
PLENTY = {"API_RATE_PER_SECOND": 1000, "API_RATE_BURST": 100_000}


@pytest.fixture(autouse=True)
def no_leases():
    admission.leases._leases.clear()


@pytest.fixture
def leased(api, api_key, monkeypatch):
    """`api`, whose next creates come without a look at the key."""
    # A loaded machine may take longer than a lease lasts.
    monkeypatch.setattr(admission, "LEASE_SECONDS", 3600)
    with override_settings(**PLENTY):
        for _ in range(3):
            assert api.create().status_code == 201
        assert admission.leases._leases[admission.clients.digest(api_key)].unused > 1
        yield api


def nothing_written_by(work):
    before = [model.objects.count() for model in (Transaction, OutboxMessage, IdempotencyKey)]
    answer = work()
    assert [model.objects.count() for model in (Transaction, OutboxMessage, IdempotencyKey)] == before
    return answer


def test_in_a_stream_of_creates_each_is_one_statement(leased, django_assert_num_queries):
    # A savepoint and its release are the test's own transaction.
    with django_assert_num_queries(3) as seen:
        assert leased.create().status_code == 201
    assert "transactions_create_v2" in seen.captured_queries[1]["sql"]


def test_a_key_revoked_within_a_lease_fails_on_the_next_create(leased):
    assert revoke_keys([ApiKey.objects.get().id])
    answer = nothing_written_by(leased.create)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="producer"')


@pytest.mark.parametrize("change", [{"active": False}, {"keys__expires_at": "2020-01-01T00:00:00Z"}])
def test_a_stopped_client_or_an_expired_key_within_a_lease_is_401(leased, change):
    if "active" in change:
        ApiClient.objects.update(active=False)
    else:
        ApiKey.objects.update(expires_at=change["keys__expires_at"])
    assert nothing_written_by(leased.create).status_code == 401


@pytest.mark.parametrize(
    "send",
    [
        lambda api: api.create({"amount": "nonsense"}),
        lambda api: api.request("POST", "transactions", raw=b"{", Idempotency_Key="k"),
        lambda api: api.request("POST", "transactions?x=1", {}, Idempotency_Key="k"),
        lambda api: api.create(key="\x7f"),
    ],
    ids=["invalid", "malformed", "query", "bad-idempotency-key"],
)
def test_what_is_wrong_with_a_request_is_not_told_to_a_revoked_key(leased, send):
    revoke_keys([ApiKey.objects.get().id])
    assert nothing_written_by(lambda: send(leased)).status_code == 401


def test_while_the_database_is_away_an_unproven_caller_gets_503(leased):
    with mock.patch("transactions.writing.first_row", side_effect=OperationalError("gone")):
        assert leased.create().status_code == 503


def test_reads_are_always_looked_up(leased, django_assert_num_queries):
    revoke_keys([ApiKey.objects.get().id])
    assert leased.get("transactions").status_code == 401


@pytest.mark.django_db(transaction=True)
@override_settings(API_RATE_BURST=2000, **SLOW)
def test_processes_with_a_lease_each_never_overspend_and_waste_few(api_key):
    books = [Leases() for _ in range(8)]
    granted = at_once(
        [lambda book=book: [admit_unproven(api_key, book)[1] is None for _ in range(300)] for book in books]
    )
    # What is left in a lease when nobody comes for it: less than LEASE_PART of the burst, once a process.
    assert 2000 - 8 * LEASE_MOST <= sum(map(sum, granted)) <= 2000


@override_settings(API_RATE_BURST=100, **SLOW)
def test_alone_a_process_grants_the_whole_burst_and_not_one_more(api_key):
    assert sum(admit_unproven(api_key)[1] is None for _ in range(130)) == 100


@override_settings(**PLENTY)
def test_a_lease_is_small_and_runs_out(api_key):
    for _ in range(50):
        admit_unproven(api_key)
    lease = admission.leases._leases[admission.clients.digest(api_key)]
    assert lease.unused < LEASE_MOST
    assert not lease.caller.proven
    with mock.patch.object(admission.time, "monotonic", return_value=lease.until + 0.1):
        caller, wait = admit_unproven(api_key)
    assert (caller.proven, wait) == (True, None)


@override_settings(API_RATE_BURST=3, **SLOW)
def test_near_its_limit_a_client_is_counted_one_by_one(api_key):
    assert [admit_unproven(api_key)[1] is None for _ in range(4)] == [True] * 3 + [False]
    assert admit(api_key)[1] is not None


@override_settings(**PLENTY)
def test_a_lost_counter_comes_back_by_itself(api_key):
    for _ in range(3):
        admit_unproven(api_key)
    ClientRate.objects.all().delete()
    admission.leases._leases.clear()
    assert admit_unproven(api_key)[1] is None
    assert ClientRate.objects.count() == 1


def test_leases_do_not_grow_without_end(api_key):
    with override_settings(**PLENTY), mock.patch.object(admission, "MAX_LEASES", 2):
        for number in range(5):
            admission.leases._leases[bytes([number])] = mock.Mock(until=0)
        admit_unproven(api_key)
    assert len(admission.leases._leases) == 2


def test_a_statement_on_a_dead_connection_is_not_repeated_inside_a_transaction(api_key):
    with (
        pytest.raises(OperationalError),
        mock.patch.object(connection, "is_usable", return_value=False),
        mock.patch.object(connection, "close"),
        mock.patch.object(connection, "cursor", side_effect=OperationalError("dead")) as cursor,
    ):
        admit(api_key)
    assert cursor.call_count == 1
