"""Published events by the week on PostgreSQL: made ahead, dropped whole, and nothing that waits goes with them."""

import importlib
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
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


# --- many rows that no week took: REST becomes a partition itself


@pytest.fixture
def overflow(add, monkeypatch):
    """More than may be moved under the lock."""
    sql(f"DROP TABLE {partitions.FIRST}")
    monkeypatch.setattr(partitions, "MOVE_AT_MOST", 2)
    return [sent(add, 0, key) for key in "abc"]


def oid(table):
    return sql("SELECT to_regclass(%s)::oid", table)[0][0]


def rest_is_free():
    free = "SELECT NOT EXISTS (SELECT FROM pg_constraint WHERE conname = %s)"
    return sql(free, partitions.BOUNDS)[0][0] and not sql(f"SELECT FROM {partitions.REST}")


def test_many_rows_that_no_week_took_stay_where_they_are_and_that_becomes_the_partition(overflow, add):
    table, monday = oid(partitions.REST), partitions.week_of(database_now())
    assert partitions.make_ahead(database_now()) == 1
    name = f"{partitions.ARCHIVE}_{monday:%Y%m%d}"
    assert {where(event_id) for event_id in overflow} == {name}
    assert oid(name) == table, "no row was copied"
    assert partitions.bounds()[name] == (monday, monday + (partitions.WEEKS_AHEAD + 1) * partitions.WEEK)
    assert rest_is_free() and partitions.missing(database_now()) == []
    assert checks.archive_is_partitioned(None, ["default"]) == []
    assert where(sent(add, 0)) == name and where(sent(add, -99)) == partitions.REST
    assert partitions.make_ahead(database_now() + timedelta(weeks=3)) == 3, "the weeks go on behind it"


def test_no_row_is_read_while_the_exclusive_lock_is_held(overflow):
    sql("SET client_min_messages = debug1")
    del connection.connection.notices[:]
    try:
        partitions.make_ahead(database_now())
    finally:
        sql("RESET client_min_messages")
    told = "".join(connection.connection.notices)
    [name] = [name for name in partitions.bounds() if name != partitions.REST]
    assert f'partition constraint for table "{name}" is implied by existing constraints' in told


def test_it_ends_where_the_next_week_begins(overflow):
    monday = partitions.week_of(database_now()) + partitions.WEEK
    next_week = f"{partitions.ARCHIVE}_{monday:%Y%m%d}"
    sql(partitions._NEW_WEEK.format(name=next_week, start=monday, end=monday + partitions.WEEK))
    assert partitions.make_ahead(database_now()) == partitions.WEEKS_AHEAD
    assert partitions.bounds()[where(overflow[0])].end == monday
    assert rest_is_free()


def test_what_became_a_partition_for_several_weeks_is_deleted_from_by_the_batch(overflow, add):
    partitions.make_ahead(database_now())
    name = where(overflow[0])
    assert prune.prune_once(keep_days=0) == 3
    assert name in partitions.partitions(), "its last week is not over"


@pytest.mark.parametrize("step", ["_VALIDATE", "_TURN"])
def test_what_fails_on_the_way_leaves_nothing_behind_that_could_refuse_an_event(overflow, add, monkeypatch, step):
    with monkeypatch.context() as patch:
        patch.setattr(partitions, step, "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'query_canceled'; END $$")
        assert partitions.make_ahead(database_now()) == 0
    assert {where(event_id) for event_id in overflow} == {partitions.REST}
    assert where(sent(add, -99)) == partitions.REST


def test_what_a_killed_prune_left_is_removed_first(overflow, add):
    sql(partitions._BOUND.format(start=database_now() - timedelta(weeks=9), end=database_now() + timedelta(weeks=9)))
    partitions.make_ahead(database_now())
    assert where(overflow[0]) != partitions.REST
    assert rest_is_free()


def test_a_second_prune_that_took_the_proof_away_stops_the_first(overflow):
    week = {"start": partitions.week_of(database_now()), "end": partitions.week_of(database_now()) + partitions.WEEK}
    assert partitions._changed(partitions._BOUND.format(**week), partitions.REST)
    assert not partitions._changed(partitions._TURN.format(name="outbox_archive_x", **week), partitions.REST)
    assert {where(event_id) for event_id in overflow} == {partitions.REST}


def test_rows_on_both_sides_of_a_week_stay_and_the_command_says_so(overflow, add, caplog):
    start = partitions.week_of(database_now()) - 2 * partitions.WEEK
    sent(add, 25)
    sql(partitions._NEW_WEEK.format(name=f"{partitions.ARCHIVE}_x", start=start, end=start + partitions.WEEK))
    no_week = pytest.raises(CommandError, match=f"weeks of {partitions.week_of(database_now()):%Y-%m-%d}, ")
    with caplog.at_level("WARNING", logger=partitions.log.name), no_week:
        call_command("outbox", "prune", stdout=StringIO())
    assert "among them the weeks of outbox_archive_x" in caplog.records[0].reason
    assert {where(event_id) for event_id in overflow} == {partitions.REST}
    assert where(sent(add, -99)) == partitions.REST


def test_prune_fails_when_a_partition_could_not_be_made_so_that_cron_tells(weeks, monkeypatch):
    call_command("outbox", "prune", stdout=StringIO())
    monkeypatch.setattr(partitions, "_changed", lambda statements, name: False)
    monkeypatch.setattr(partitions, "WEEKS_AHEAD", partitions.WEEKS_AHEAD + 1)
    with pytest.raises(CommandError, match="No partition for the weeks of"):
        call_command("outbox", "prune", stdout=StringIO())


@pytest.mark.django_db(transaction=True)
def test_an_event_is_written_to_rest_while_its_rows_are_read_for_the_proof(add, held):
    sql(partitions._BOUND.format(start=database_now(), end=database_now() + timedelta(weeks=99)))
    try:
        with held(lambda: sql(partitions._VALIDATE)):
            sql("SET lock_timeout = '2s'")
            assert where(sent(add, -99)) == partitions.REST
    finally:
        sql("RESET lock_timeout")
        sql(partitions._UNBOUND)


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
