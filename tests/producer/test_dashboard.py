"""The landing page: cheap, for those who may see it, and never a 500."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from outbox.models import OutboxMessage
from producer import dashboard
from producer.snapshot import Snapshot

pytestmark = pytest.mark.django_db
NOW, HOUR = "admin:dashboard-now", ("admin:dashboard-window", [60])
# Session, user, and the two statements with which Django reads permissions.
LOG_IN_QUERIES = 4


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    """What another test's database said must not be shown here."""
    monkeypatch.setattr(dashboard, "now", Snapshot(dashboard.now._compute, dashboard.NOW_SECONDS))
    monkeypatch.setattr(
        dashboard, "windows", {name: Snapshot(kept._compute, 5) for name, kept in dashboard.windows.items()}
    )


@pytest.fixture
def operator(client, db):
    user = User.objects.create_user("operator", password="x" * 12, is_staff=True)
    names = ("view_transaction", "view_outboxmessage", "view_inboxmessage", "view_channelstate")
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))
    client.force_login(user)
    return client


def read(client, name, arguments=()):
    return client.get(reverse(name, args=arguments))


def test_the_page_itself_asks_nothing_of_the_ledgers(operator):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = read(operator, "admin:index")
    assert answer.status_code == 200 and b'id="dashboard"' in answer.content
    touched = [query["sql"] for query in queries if "outbox_" in query["sql"] or "transactions_" in query["sql"]]
    assert touched == [] and len(queries) <= 10


def test_a_refresh_costs_a_bounded_number_of_statements_and_the_next_one_only_the_log_in(operator, api):
    for _ in range(30):
        api.create()
    for name, arguments in ((NOW, ()), HOUR):
        with CaptureQueriesContext(connection) as cold:
            assert read(operator, name, arguments).status_code == 200
        # A savepoint of the test's own transaction stands where a request has BEGIN.
        own = [query["sql"] for query in cold if "SAVEPOINT" not in query["sql"]]
        assert len(own) <= 5 + LOG_IN_QUERIES, "\n".join(own)
        with CaptureQueriesContext(connection) as warm:
            read(operator, name, arguments)
        assert len(warm) <= LOG_IN_QUERIES


def test_lights_come_with_words_and_a_link_that_filters(operator, api):
    api.create()
    OutboxMessage.objects.update(state="dead", error="NO_ROUTE")
    body = read(operator, NOW).json()
    dead = next(light for light in body["lights"] if light["id"] == "events_dead")
    assert body["level"] == "bad" and dead["level"] == "bad" and dead["meaning"] and dead["remedy"]
    page = operator.get(dead["links"][0]["href"])
    assert page.status_code == 200 and page.context["cl"].result_list[0].state == "dead"


def test_every_link_of_the_dashboard_opens_and_its_filter_is_understood(admin_client):
    for _, page, query in (link for links in dashboard.LINKS.values() for link in links):
        answer = admin_client.get(dashboard._address(page, query))
        # The admin refuses a filter that it does not know.
        assert answer.status_code == 200, (page, query)
        # And a value that it does not know changes nothing.
        chosen = [spec for spec in answer.context["cl"].filter_specs if getattr(spec, "value", lambda: None)()]
        offered = {value for spec in chosen for value, _ in spec.lookup_choices}
        assert not query or query.partition("=")[2] in offered, (page, query)


def test_reasons_are_shown_without_figures(operator, api):
    api.create()
    OutboxMessage.objects.update(state="dead", error="refused: DE89370400440532013000 has 125.50 EUR")
    (reason,) = read(operator, *HOUR).json()["reasons"]
    assert "refused" in reason["reason"] and "3704" not in reason["reason"] and "125" not in reason["reason"]


def test_the_window_sums_up_what_was_submitted_and_why_something_failed(operator, api):
    for _ in range(3):
        api.create()
    OutboxMessage.objects.update(state="dead", error="NO_ROUTE")
    body = read(operator, *HOUR).json()
    assert body["totals"] == {"submitted": 3, "sent": 0, "settled": 0, "failed": 0, "canceled": 0}
    assert body["exact"] is True and len(body["stretches"]) == dashboard.STRETCHES
    (reason,) = body["reasons"]
    assert (reason["what"], reason["state"], reason["reason"], reason["count"]) == ("Event", "dead", "NO_ROUTE", 3)
    assert operator.get(reason["href"]).status_code == 200


def test_who_may_not_see_the_ledgers_sees_neither_sums_nor_reasons(client, db):
    client.force_login(User.objects.create_user("clerk", password="x" * 12, is_staff=True))
    assert b'id="dashboard"' not in read(client, "admin:index").content
    assert read(client, NOW).status_code == 403
    assert read(client, *HOUR).status_code == 403


def test_who_is_not_logged_in_is_sent_to_the_log_in(client):
    assert read(client, NOW).status_code == 302


def test_a_window_that_is_not_offered_is_404(operator):
    assert read(operator, HOUR[0], [61]).status_code == 404


@pytest.mark.parametrize(("name", "arguments"), [(NOW, ()), HOUR])
def test_a_database_that_is_away_or_slow_is_said_and_no_500(operator, monkeypatch, name, arguments):
    def away():
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr(dashboard, "now", Snapshot(away, 2))
    monkeypatch.setattr(dashboard, "windows", {"60": Snapshot(away, 2)})
    answer = read(operator, name, arguments)
    assert answer.status_code == 503 and "database" in answer.json()["detail"]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_statement_of_the_page_gives_up_early_and_other_statements_keep_their_time(monkeypatch):
    monkeypatch.setattr(dashboard, "STATEMENT_MILLISECONDS", 50)

    def sleep(_):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(20)")

    def timeout():
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return cursor.fetchone()[0]

    before = timeout()
    with pytest.raises(OperationalError):
        dashboard._patiently(sleep)()
    assert timeout() == before != "50ms"


def test_stretches_stand_on_the_clock_and_the_last_ends_now():
    now = datetime(2026, 11, 22, 12, 0, 50, tzinfo=UTC)
    edges = dashboard._edges(now, timedelta(minutes=2))
    assert len(edges) == dashboard.STRETCHES + 1
    assert edges[-1] == now and edges[-2] == now.replace(second=0)
    assert {later - earlier for earlier, later in pairwise(edges[:-1])} == {timedelta(minutes=2)}


def test_percentiles_of_few_and_many():
    assert dashboard._percentiles([]) is None
    assert dashboard._percentiles([2.0]) == {"p50": 2.0, "p99": 2.0}
    assert dashboard._percentiles([1.0, 3.0]) == {"p50": 2.0, "p99": 3.0}
    assert dashboard._percentiles([float(n) for n in range(1, 1001)]) == {"p50": 500.5, "p99": 990.01}
