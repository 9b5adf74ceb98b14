"""The rate: never overspent, whatever runs at the same time; what is refused comes back."""

import time

import pytest
from django.db import connection
from django.db.models import F
from django.test import override_settings

from tests.transactions.threads import at_once
from transactions import rate_limit
from transactions.admission import admit
from transactions.models import ApiClient, ClientRate

pytestmark = pytest.mark.django_db
# So slow that nothing is refilled during a test.
SLOW = {"API_RATE_PER_SECOND": 0.0001}


def granted(key):
    caller, wait = admit(key)
    assert caller is not None
    return wait is None


@override_settings(API_RATE_BURST=5, **SLOW)
def test_a_burst_is_granted_and_not_one_more(api_key):
    assert [granted(api_key) for _ in range(7)] == [True] * 5 + [False] * 2


@override_settings(API_RATE_BURST=5, API_RATE_PER_SECOND=10)
def test_what_was_spent_comes_back_with_time(api_key):
    assert [granted(api_key) for _ in range(6)].count(True) >= 5
    ClientRate.objects.update(spent_until=ClientRate.objects.get().spent_until - 0.2)
    assert granted(api_key)


@override_settings(API_RATE_BURST=3, **SLOW)
def test_idle_time_is_not_saved_beyond_the_burst(api_key):
    ClientRate.objects.update(spent_until=0)
    assert [granted(api_key) for _ in range(5)].count(True) == 3


@override_settings(API_RATE_BURST=2, API_RATE_PER_SECOND=0.1)
def test_the_wait_is_told_in_whole_seconds(api_key):
    waits = [admit(api_key)[1] for _ in range(3)]
    assert waits[:2] == [None, None]
    assert 9 <= waits[2] <= 10


@override_settings(API_RATE_BURST=5, API_RATE_PER_SECOND=0.2)
def test_a_clock_that_was_ahead_and_was_put_right_costs_one_full_burst_and_not_the_time_between(api_key):
    assert granted(api_key)
    ClientRate.objects.update(spent_until=time.time() + 3600)
    assert 4 <= admit(api_key)[1] <= 5
    # A request's price later one is let in, and only one: nothing was given away.
    ClientRate.objects.update(spent_until=F("spent_until") - 5)
    assert [granted(api_key), granted(api_key)] == [True, False]


@override_settings(API_RATE_BURST=3, **SLOW)
def test_a_lost_counter_comes_back_by_itself(api_key):
    ClientRate.objects.all().delete()
    assert [granted(api_key) for _ in range(5)].count(True) == 3


def test_a_counter_that_another_request_brings_back_meanwhile_refuses_nobody(api_key, monkeypatch):
    # It was missing when we looked, and is there when we would make it.
    real, answers = rate_limit._spend, [False]
    monkeypatch.setattr(rate_limit, "_spend", lambda client: answers.pop() if answers else real(client))
    (client,) = ApiClient.objects.values_list("id", flat=True)
    ClientRate.objects.get_or_create(client_id=client)
    assert rate_limit.take(client) is None


@override_settings(API_RATE_BURST=1, **SLOW)
def test_clients_do_not_share_a_rate(api, other_api):
    assert [api.get("transactions").status_code, other_api.get("transactions").status_code] == [200, 200]
    assert [api.get("transactions").status_code, other_api.get("transactions").status_code] == [429, 429]


@override_settings(API_RATE_BURST=1, **SLOW)
def test_a_bad_key_spends_nothing(api):
    assert api.get("transactions", Authorization="Bearer pk_nope").status_code == 401
    assert api.get("transactions").status_code == 200


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("take", ["admit", "take"])
@override_settings(API_RATE_BURST=25, **SLOW)
def test_threads_never_overspend_together(api_key, take):
    client_id = ApiClient.objects.get().id
    one = (lambda: granted(api_key)) if take == "admit" else (lambda: rate_limit.take(client_id) is None)
    outcomes = at_once([lambda: [one() for _ in range(10)]] * 8)
    assert sum(map(sum, outcomes)) == 25


@pytest.mark.postgres
def test_the_counter_waits_for_no_disk(db):
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence FROM pg_class WHERE relname = 'transactions_clientrate'")
        assert cursor.fetchone() == ("u",)
