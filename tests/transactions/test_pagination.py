"""Lists: every row once, newest first, with cursors that cannot be forged and filters that mean what they say."""

import string
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.utils import timezone

from outbox.ids import time_of
from tests.conftest import new_transaction
from transactions import pagination
from transactions.models import Transaction

pytestmark = pytest.mark.django_db


def walk(api, query=""):
    """All ids, following next_cursor; each page is checked on the way."""
    ids, path = [], f"transactions?{query}"
    while True:
        answer = api.get(path)
        assert answer.status_code == 200, answer.content
        page = answer.json()
        assert set(page) == {"data", "next_cursor", "has_more"}
        ids += [row["id"] for row in page["data"]]
        assert page["has_more"] == (page["next_cursor"] is not None) == ("Link" in answer)
        if not page["has_more"]:
            return ids
        link, rel = answer["Link"].split("; ")
        assert rel == 'rel="next"'
        parts = urlsplit(link.strip("<>"))
        assert parts.scheme == "http" and parse_qs(parts.query)["cursor"] == [page["next_cursor"]]
        path = f"{parts.path}?{parts.query}"


@pytest.fixture
def made(api):
    body = {
        "transactions": [
            new_transaction(amount=str(n + 1), account_number=f"A{n % 3}", currency=("EUR", "USD")[n % 2])
            for n in range(30)
        ]
    }
    return api.request("POST", "transactions/batch", body, Idempotency_Key="b").json()["data"]


def newest_first(rows):
    return [row["id"] for row in reversed(rows)]


@pytest.mark.parametrize("limit", [1, 7, 29, 30, 31, 100])
def test_a_walk_sees_every_row_once_newest_first(api, made, limit):
    assert walk(api, f"limit={limit}") == newest_first(made)


def test_the_default_page_has_25_rows(api, made):
    assert len(api.get("transactions").json()["data"]) == 25


def test_an_empty_list_has_no_next(api):
    assert api.get("transactions").json() == {"data": [], "next_cursor": None, "has_more": False}


def test_rows_that_come_during_a_walk_do_not_move_it(api, made):
    page = api.get("transactions?limit=10").json()
    api.create()
    after = api.get(f"transactions?limit=100&cursor={page['next_cursor']}").json()
    assert [row["id"] for row in page["data"] + after["data"]] == newest_first(made)


def test_each_filter_finds_exactly_its_rows(api, made):
    api.create(new_transaction(external_id="e/1 ü"), key="one")
    api.request("DELETE", f"transactions/{made[4]['id']}")
    assert walk(api, "limit=4&account_number=A1") == newest_first([r for r in made if r["account_number"] == "A1"])
    assert walk(api, "currency=USD") == newest_first([r for r in made if r["currency"] == "USD"])
    assert walk(api, "status=canceled") == [made[4]["id"]]
    assert len(walk(api, f"external_id={quote('e/1 ü')}")) == 1
    assert (
        walk(api, f"external_id={quote('�')}") == []
    )  # Written as it is in UTF-8, which it may be: no such, not a bad byte.
    assert walk(api, "currency=USD&account_number=A0&limit=1") == newest_first(
        [r for r in made if r["currency"] == "USD" and r["account_number"] == "A0"]
    )


def test_created_gte_includes_its_moment_and_created_lt_does_not(api, made):
    at = quote(made[10]["created_at"])
    later = [row for row in made if row["created_at"] >= made[10]["created_at"]]
    earlier = [row for row in made if row["created_at"] < made[10]["created_at"]]
    assert walk(api, f"created_gte={at}") == newest_first(later)
    assert walk(api, f"created_lt={at}") == newest_first(earlier)
    assert sorted(walk(api, f"limit=3&created_gte={at}") + walk(api, f"limit=3&created_lt={at}")) == sorted(
        newest_first(made)
    )


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "2026-11-22T10:15:00+01:00"]
)
def test_moments_at_the_edges_are_answered(api, made, moment):
    for name in ("created_gte", "created_lt", "updated_gte"):
        assert api.get(f"transactions?{name}={quote(moment)}").status_code == 200


@pytest.mark.parametrize("limit, walk_rows", [(1, 1), (1, 1000), (2, 3), (5, 7), (100, 12), (100, 1000)])
def test_updated_gte_finds_what_was_created_or_changed_since_newest_first(api, made, limit, walk_rows, monkeypatch):
    monkeypatch.setattr(pagination, "WALK_ROWS", walk_rows)
    since = datetime.fromisoformat(made[20]["created_at"])
    changed = [made[3]["id"], made[11]["id"], made[19]["id"]]
    Transaction.objects.filter(id__in=changed).update(updated_at=timezone.now() + timedelta(seconds=1))
    expected = newest_first(
        [row for row in made if row["created_at"] >= made[20]["created_at"] or row["id"] in changed]
    )
    assert walk(api, f"limit={limit}&updated_gte={quote(since.astimezone(UTC).isoformat())}") == expected
    only = [row["id"] for row in made if row["id"] in expected and row["currency"] == "USD"][::-1]
    assert walk(api, f"limit={limit}&currency=USD&updated_gte={quote(since.isoformat())}") == only


def test_the_time_in_the_id_is_created_at(made):
    for txn in Transaction.objects.all():
        assert time_of(txn.id) == txn.created_at


def test_a_cursor_is_good_for_its_client_and_its_filters_only(api, other_api, made):
    cursor = api.get("transactions?limit=5&currency=EUR").json()["next_cursor"]
    assert api.get(f"transactions?limit=9&currency=EUR&cursor={cursor}").status_code == 200
    for path in (f"transactions?cursor={cursor}", f"transactions?currency=USD&cursor={cursor}"):
        assert api.get(path).status_code == 400
    assert other_api.get(f"transactions?limit=5&currency=EUR&cursor={cursor}").status_code == 400


def test_a_changed_cursor_is_refused(api, made):
    cursor = api.get("transactions?limit=5").json()["next_cursor"]
    for index in (*range(0, len(cursor), 5), len(cursor) - 1):
        other = "A" if cursor[index] != "A" else "B"
        assert api.get(f"transactions?cursor={cursor[:index]}{other}{cursor[index + 1 :]}").status_code == 400


def test_a_rotation_of_the_secret_key_interrupts_no_walk(api, made, settings):
    cursor = api.get("transactions?limit=5").json()["next_cursor"]
    before, settings.SECRET_KEY = settings.SECRET_KEY, "another"
    settings.SECRET_KEY_FALLBACKS = [before]
    page = api.get(f"transactions?limit=25&cursor={cursor}").json()
    assert [row["id"] for row in page["data"]] == newest_first(made)[5:]
    settings.SECRET_KEY_FALLBACKS = []
    assert api.get(f"transactions?cursor={cursor}").status_code == 400


def test_a_cursor_has_one_spelling(api, made):
    """Of 38 characters the last has four bits that base64 ignores."""
    cursor = api.get("transactions?limit=5").json()["next_cursor"]
    others = [cursor[:-1] + last for last in string.ascii_letters + string.digits + "-_" if last != cursor[-1]]
    for other in (*others, f"{cursor}=", f"{cursor}==", f"{cursor} "):
        assert api.get(f"transactions?cursor={quote(other)}").status_code == 400


def test_the_key_of_a_filter_is_spelt_as_in_the_header(api):
    created = api.create(key="k-1").json()["id"]
    for spelling in ("k-1", '"k-1"'):
        assert [row["id"] for row in api.get(f"transactions?idempotency_key={quote(spelling)}").json()["data"]] == [
            created
        ]
    for spelling in ("", "x" * 256, "\u00e9", '""', '"k'):
        assert api.get(f"transactions?idempotency_key={quote(spelling)}").status_code == 400


def test_another_clients_rows_are_never_listed(api, other_api, made):
    other_api.create()
    assert len(walk(other_api)) == 1
    assert len(walk(api)) == 30
