"""Published events by the week on PostgreSQL: made ahead, dropped whole, and nothing that waits goes with them."""

import importlib
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from outbox import checks, partitions, prune
from outbox.batch import Refusal
from outbox.claim import claim, requeue, settle
from outbox.clock import database_now
from outbox.conflicts import TRIES, started_over
from outbox.models import OutboxMessage

pytestmark = [pytest.mark.postgres, pytest.mark.django_db]
migration = importlib.import_module("outbox.migrations.0004_partitions")


def sql(statement, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def where(event_id):
    """The partition in which a row lies."""
    return sql("SELECT tableoid::regclass::text FROM outbox_outboxmessage WHERE id = %s", event_id)[0][0]


@pytest.fixture
def weeks():
    """As it is once the table of before the partitions is gone."""
    sql(f"DROP TABLE {partitions.FIRST}")
    partitions.make_ahead(database_now())
    return partitions.partitions()


def sent(add, days_ago, key="k"):
    return add(key, state="published", published_at=Now() - timedelta(days=days_ago))


def test_settling_moves_an_event_out_of_the_table_that_claims_work_on(add, look, weeks):
    event_id = add()
    assert where(event_id) == partitions.WAITING
    batch = claim(limit=10, lease_seconds=30, relay="one")
    assert settle(batch, confirmed={event_id}, refused={}, channel="broker", confirm_ms=7).published == 1
    this_week = f"{partitions.ARCHIVE}_{partitions.week_of(database_now()):%Y%m%d}"
    assert where(event_id) == this_week
    row = look(event_id)
    assert (row.claimed_by, row.channel, row.confirm_ms) == ("one", "broker", 7)
    assert row.published_at is not None


def test_requeue_moves_it_back(add, weeks):
    event_id = sent(add, 0)
    assert requeue([event_id]) == 1
    assert where(event_id) == partitions.WAITING
    assert claim(limit=10, lease_seconds=30, relay="r").events[0].id == event_id


def test_the_coming_weeks_have_partitions_and_making_them_twice_makes_nothing(weeks):
    ends = sorted(end for end in weeks.values() if end)
    assert ends[-1] >= database_now() + timedelta(weeks=partitions.WEEKS_AHEAD)
    assert len(ends) == partitions.WEEKS_AHEAD + 1
    assert partitions.make_ahead(database_now()) == 0


def test_a_week_is_dropped_whole_once_all_of_it_is_past_its_retention(add, weeks):
    # Each week that the days below may fall into, whatever day it is today.
    for days_back in range(0, 56, 7):
        partitions.make_ahead(database_now() - timedelta(days=days_back))
    gone, kept = sent(add, 43), sent(add, 29)
    dead = add("dead", state="dead", created_at=Now() - timedelta(days=90))
    waits = add("waits", created_at=Now() - timedelta(days=90))
    before = len(partitions.partitions())
    assert where(gone) != partitions.REST
    assert prune.prune_once(keep_days=30) > 0
    assert set(OutboxMessage.objects.values_list("id", flat=True)) == {kept, dead, waits}
    assert len(partitions.partitions()) < before
    assert all(end is None or end > database_now() - timedelta(days=30) for end in partitions.partitions().values())


def test_what_no_week_took_goes_to_its_week_as_that_is_made(add):
    sql(f"DROP TABLE {partitions.FIRST}")
    event_id = sent(add, 0)
    assert where(event_id) == partitions.REST
    assert [message.id for message in checks.archive_is_partitioned(None, ["default"])] == ["outbox.W001"]
    partitions.make_ahead(database_now())
    assert where(event_id).startswith(f"{partitions.ARCHIVE}_2")
    assert checks.archive_is_partitioned(None, ["default"]) == []


@pytest.mark.django_db(transaction=True)
def test_a_reader_puts_the_drop_off_instead_of_stopping_the_relays(add, held):
    read = lambda: sql(f"SELECT count(*) FROM {partitions.FIRST}")  # noqa: E731
    with held(read):
        assert partitions.drop_until(database_now() + timedelta(days=99)) == 0
    assert partitions.FIRST in partitions.partitions()


def test_the_migration_keeps_every_row_and_goes_back(add, look):
    ids = [add("p"), add("d", state="dead"), sent(add, 3), sent(add, 99)]
    before = list(OutboxMessage.objects.order_by("id").values())
    editor = SimpleNamespace(connection=connection, execute=lambda text, params: sql(text))
    migration.flatten(apps, editor)
    assert partitions.partitions() == {}
    assert list(OutboxMessage.objects.order_by("id").values()) == before
    assert prune.prune_once(keep_days=30) == 1
    migration.partition(apps, editor)
    assert [where(event_id) for event_id in ids[:3]] == [partitions.WAITING, partitions.WAITING, partitions.FIRST]
    assert list(OutboxMessage.objects.order_by("id").values()) == before[:3]
    assert {event.id for event in claim(limit=9, lease_seconds=30, relay="r").events} == {ids[0]}


def test_the_shipped_autovacuum_settings_are_those_the_check_wants():
    [(options,)] = sql("SELECT reloptions FROM pg_class WHERE relname = %s", partitions.WAITING)
    assert dict(option.split("=") for option in options) == partitions.AUTOVACUUM


def test_missing_autovacuum_settings_are_told_with_the_statement_that_sets_them(monkeypatch):
    monkeypatch.setattr(checks, "_AUTOVACUUM", checks._AUTOVACUUM.replace("current_setting('autovacuum')", "'on'"))
    assert checks.autovacuum_is_set(None, ["default"]) == []
    sql(f"ALTER TABLE {partitions.WAITING} RESET (autovacuum_vacuum_threshold)")
    [warning] = checks.autovacuum_is_set(None, ["default"])
    assert warning.id == "outbox.W002"
    sql(warning.hint)
    assert checks.autovacuum_is_set(None, ["default"]) == []


def test_a_server_without_autovacuum_is_told_of(monkeypatch):
    monkeypatch.setattr(checks, "_AUTOVACUUM", checks._AUTOVACUUM.replace("current_setting('autovacuum')", "'off'"))
    assert "switched off" in checks.autovacuum_is_set(None, ["default"])[0].msg


@pytest.mark.parametrize("check", [checks.archive_is_partitioned, checks.autovacuum_is_set])
def test_no_database_named_means_no_question_asked(check, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert check(None) == []


@pytest.mark.parametrize("conflicts", [0, 1, TRIES - 1])
def test_a_transaction_that_met_a_moving_row_starts_over(conflicts):
    tries = []

    @started_over
    def work():
        tries.append(1)
        with transaction.atomic():
            if len(tries) <= conflicts:
                sql("DO $$ BEGIN RAISE EXCEPTION 'moved to another partition' USING ERRCODE = '40001'; END $$")
            return sql("SELECT 1")

    assert work() == [(1,)]
    assert len(tries) == conflicts + 1


@pytest.mark.parametrize("code, tries", [("40001", TRIES), ("55P03", 1)])
def test_it_gives_up_in_the_end_and_at_once_on_anything_else(code, tries):
    done = []

    @started_over
    def work():
        done.append(1)
        with transaction.atomic():
            sql(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")

    with pytest.raises(OperationalError):
        work()
    assert len(done) == tries


def test_an_ordinary_claim_and_settlement_look_at_one_partition(add):
    """However many weeks are kept: the plans of the functions leave out all others, or they would be locked."""
    add()
    batch = claim(limit=10, lease_seconds=30, relay="r")
    assert locked() == {partitions.WAITING}
    settle(batch, confirmed={event.id for event in batch.events}, refused={}, channel="broker", confirm_ms=1)
    assert locked() == {partitions.WAITING, partitions.FIRST}, "and the settled event goes to the one of its week"


def locked():
    return {
        name
        for (name,) in sql(
            "SELECT relation::regclass::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
            " WHERE pid = pg_backend_pid() AND relkind = 'r' AND relname LIKE 'outbox\\_%'"
        )
    }


def test_any_other_claim_and_settlement_look_at_one_partition(add):
    """Tried before, and not all of it confirmed."""
    add(attempts=1)
    refused = add("b", attempts=1)
    with _explained() as plans:
        batch = claim(limit=10, lease_seconds=30, relay="r")
        confirmed = {event.id for event in batch.events} - {refused}
        settle(batch, confirmed=confirmed, refused={refused: Refusal("no")}, channel="broker", confirm_ms=1)
    assert len(plans) >= 5
    for statement, plan in plans:
        assert partitions.FIRST not in plan, (statement, plan)
        assert partitions.WAITING in plan, (statement, plan)


class _explained:
    """The plans of the statements that the block runs."""

    def __enter__(self):
        self.plans = []
        self.wrapper = connection.execute_wrapper(self.explain)
        self.wrapper.__enter__()
        return self.plans

    def __exit__(self, *error):
        self.wrapper.__exit__(*error)

    def explain(self, execute, statement, parameters, many, context):
        if partitions.TABLE in statement and not statement.lstrip().startswith("EXPLAIN"):
            with context["connection"].cursor() as cursor:
                cursor.execute(f"EXPLAIN {statement}", parameters)
                self.plans.append((statement, "\n".join(line for (line,) in cursor.fetchall())))
        return execute(statement, parameters, many, context)
