"""The inbox under races, dying workers and a database that misbehaves: each result is applied once and none is stuck."""

import json
import threading
import time
import uuid
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace

import psycopg2
import pytest
import tenacity
from celery import current_app
from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Count
from django.db.models.functions import Now

from outbox.models import OutboxMessage
from tests.conftest import new_transaction
from tests.stack import wait_for
from tests.transactions.threads import at_once, in_thread
from transactions.models import HistoryEntry, Transaction
from webhooks import inbox, services, tasks
from webhooks.database_trouble import Trouble, database_trouble
from webhooks.inbox import State, WebhookIdReusedError
from webhooks.models import InboxMessage, ReusedWebhookId
from webhooks.signing import Verified

pytestmark = pytest.mark.django_db
races = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def body_of(transaction_id, outcome="succeeded", version=1):
    data = {"transaction_id": str(transaction_id), "transaction_version": version, "processed_data": {"ok": True}}
    data["error"] = {"code": "no_funds", "message": "No funds."}
    return json.dumps({"type": f"transaction.{outcome}", "timestamp": "2026-11-22T10:15:00Z", "data": data}).encode()


def record(webhook_id, body, *, door="webhook", transaction_id=None, state=State.RECEIVED):
    return inbox.record(Verified(webhook_id, 1, "k"), body, door=door, state=state, transaction_id=transaction_id)


@pytest.fixture(autouse=True)
def late_retries(monkeypatch):
    """On a busy machine a run could meet its own retries; here they come when a test makes them due."""
    monkeypatch.setattr(inbox, "BUSY_SECONDS", 600.0)
    monkeypatch.setattr(inbox, "BACKOFF_BASE_SECONDS", 600.0)


@pytest.fixture
def txns(api):
    """Makes pending transactions; their ids."""

    def make(count):
        sent = {"transactions": [new_transaction() for _ in range(count)]}
        answer = api.request("POST", "transactions/batch", sent, Idempotency_Key=str(uuid.uuid4()))
        return [uuid.UUID(row["id"]) for row in answer.json()["data"]]

    return make


@pytest.fixture
def results(txns):
    """Makes `count` transactions with one recorded result each; the transactions' ids."""

    def make(count, prefix="msg"):
        ids = txns(count)
        for number, txn_id in enumerate(ids):
            record(f"{prefix}_{number}", body_of(txn_id), transaction_id=txn_id)
        return ids

    return make


def apply(**options):
    return services.apply_due(budget_seconds=20, **options)


def make_due(**filters):
    InboxMessage.objects.filter(**filters).update(due_at=Now() - timedelta(seconds=1))


def assert_each_changed_once(ids):
    statuses = Counter(Transaction.objects.filter(id__in=ids).values_list("status", flat=True))
    assert statuses == {"succeeded": len(ids)}
    per_transaction = HistoryEntry.objects.filter(kind="change", by="consumer").values("transaction")
    assert list(per_transaction.annotate(n=Count("id")).exclude(n=1)) == []
    assert per_transaction.count() == len(ids)


# --- recorded once


def test_any_bytes_come_back_as_they_were_signed():
    raw = bytes(range(256)) * 4
    record("msg_bytes", raw, state=State.QUARANTINED)
    assert bytes(InboxMessage.objects.get().body) == raw
    assert record("msg_bytes", raw, state=State.QUARANTINED).new is False
    assert InboxMessage.objects.get().deliveries == 2


def test_a_claimed_body_is_the_recorded_one_byte_by_byte(results):
    (txn_id,) = results(1)
    (claimed,) = inbox.claim(5)
    assert claimed.body == body_of(txn_id) and type(claimed.body) is bytes
    assert claimed.transaction_id == txn_id and claimed.attempts == 1 and claimed.received_at.tzinfo is not None


class TestDoors:
    pytestmark = races

    def test_both_doors_at_the_same_instant_make_one_row_and_count_every_delivery(self):
        raw = body_of(uuid.uuid4())
        doors = ["webhook", "queue"] * 4
        seen = at_once([lambda door=door: record("msg_both", raw, door=door) for door in doors])
        assert [one.new for one in seen].count(True) == 1
        assert InboxMessage.objects.get().deliveries == 8 and not ReusedWebhookId.objects.exists()

    def test_two_bodies_under_one_id_at_the_same_instant_leave_one_result_and_the_other_as_evidence(self):
        bodies = [body_of(uuid.uuid4(), "succeeded"), body_of(uuid.uuid4(), "failed")]

        def deliver(body):
            try:
                return record("msg_two", body).new
            except WebhookIdReusedError:
                return "reused"

        seen = Counter(at_once([lambda body=body: deliver(body) for body in bodies * 4]))
        assert seen == {True: 1, False: 3, "reused": 4}
        row, evidence = InboxMessage.objects.get(), ReusedWebhookId.objects.get()
        assert {bytes(row.body), bytes(evidence.body)} == set(bodies)
        assert (row.deliveries, evidence.deliveries) == (4, 4)

    def test_a_connection_that_died_while_idle_costs_the_sender_nothing(self):
        record("msg_before", b"{}")
        with psycopg2.connect(**connection.get_connection_params()) as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
        other.close()
        assert record("msg_after", b"{}").new is True
        assert InboxMessage.objects.count() == 2


# --- claimed by one, applied once


class TestWorkersAtOnce:
    pytestmark = races

    def test_no_two_workers_claim_the_same_result(self, results):
        results(60)
        batches = at_once([lambda: [row.id for row in inbox.claim(20)] for _ in range(6)])
        taken = [row_id for batch in batches for row_id in batch]
        # One may find rows locked by another that then takes fewer: what is left is due for the next claim.
        while batch := inbox.claim(20):
            taken += [row.id for row in batch]
        assert len(taken) == len(set(taken)) == 60

    def test_four_workers_apply_each_result_once(self, results):
        ids = results(80)
        counts = sum(at_once([lambda: apply(limit=7) for _ in range(4)]), Counter())
        counts += apply()
        assert counts == {"applied": 80}
        assert_each_changed_once(ids)

    def test_of_many_outcomes_for_one_transaction_at_once_exactly_one_is_applied(self, txns):
        (txn_id,) = txns(1)
        for number in range(16):
            outcome = "succeeded" if number % 2 else "failed"
            record(f"msg_{number}", body_of(txn_id, outcome), transaction_id=txn_id)
        counts = sum(at_once([lambda: apply(limit=2) for _ in range(4)]), Counter())
        # Workers that waited too long for the row gave it back; nothing was judged twice for that.
        while InboxMessage.objects.filter(state="received").exists():
            make_due(state="received")
            counts += apply()
        del counts["busy"]
        assert counts == {"applied": 1, "noop": 7, "conflict": 8}
        assert HistoryEntry.objects.filter(kind="change", by="consumer").count() == 1

    def test_two_operators_who_reapply_at_once_change_it_once(self, results):
        results(1)
        InboxMessage.objects.update(state="dead")
        row_id = InboxMessage.objects.get().id
        assert sorted(at_once([lambda: services.reapply([row_id])] * 4)) == [0, 0, 0, 1]

    def test_discarding_while_workers_apply_neither_deadlocks_nor_loses_a_result(self, results):
        results(60)
        ids = list(InboxMessage.objects.order_by("-id").values_list("id", flat=True))
        jobs = [lambda: apply(limit=10), lambda: apply(limit=10), lambda: Counter(dead=services.discard(ids, "test"))]
        sum(at_once(jobs), Counter())
        make_due(state="received")
        apply()
        states = Counter(InboxMessage.objects.values_list("state", flat=True))
        assert set(states) <= {"applied", "dead"} and sum(states.values()) == 60
        assert Transaction.objects.filter(status="succeeded").count() == states["applied"]
        assert HistoryEntry.objects.filter(kind="result", state="applied").count() == states["applied"]


# --- a worker that dies, or is too slow


def test_what_a_dead_worker_left_is_not_claimed_together_with_fresh_results(results):
    results(8)
    assert len(inbox.claim(64)) == 8
    record("msg_fresh", body_of(uuid.uuid4()))
    make_due(lease_token__isnull=False)
    first, second = inbox.claim(64), inbox.claim(64)
    assert {row.webhook_id for row in second} == {"msg_fresh"} and len(first) == 8


def test_with_each_death_fewer_are_taken_together_until_the_culprit_is_alone(results):
    results(12)
    sizes = []
    for _ in range(4):
        make_due()
        sizes.append(len(inbox.claim(12)))  # the worker dies here
    assert sizes == [12, 3, 1, 1]


def test_a_result_that_ends_every_worker_is_dead_and_visible_and_its_neighbours_are_applied(results, settings):
    settings.INBOX_MAX_ATTEMPTS = 5
    ids = results(10)
    claims = 0
    while InboxMessage.objects.filter(state="received").exists():
        claims += 1
        assert claims < 60
        make_due(state="received")
        batch = inbox.claim(64)
        poison = [row for row in batch if row.webhook_id == "msg_4"]
        if poison and poison[0].attempts <= settings.INBOX_MAX_ATTEMPTS:
            continue  # the worker died here, with all that it had claimed
        services.apply_together(batch)
    row = InboxMessage.objects.get(state="dead")
    assert row.webhook_id == "msg_4" and "5 times" in row.reason and row.lease_token is None
    assert_each_changed_once([txn_id for txn_id in ids if txn_id != ids[4]])


def test_a_batch_ends_before_its_lease_does(results, settings, monkeypatch):
    settings.INBOX_LEASE_SECONDS = 30
    results(25)
    clock = [1000.0]
    monkeypatch.setattr(services.time, "monotonic", lambda: clock[0])
    real = services.apply_together

    def slow(claimed):
        clock[0] += len(claimed)
        return real(claimed)

    monkeypatch.setattr(services, "apply_together", slow)
    # 20 together take 20 s, which is over half the lease; the 5 others go back at once instead of at its end.
    assert services.apply_due(budget_seconds=18) == {"applied": 20}
    left = InboxMessage.objects.filter(state="received")
    assert left.filter(lease_token=None, attempts=0, due_at__lte=Now()).count() == 5


def test_results_that_go_one_by_one_end_before_their_lease_does(results, settings, monkeypatch):
    """A slow database and one transaction that somebody holds: twenty lock timeouts and twenty commits are a minute."""
    settings.INBOX_LEASE_SECONDS = 30
    results(20)
    clock = [1000.0]
    monkeypatch.setattr(services.time, "monotonic", lambda: clock[0])
    real = services.apply_together

    def slow(claimed):
        clock[0] += 4
        if len(claimed) > 1:
            raise OperationalError("canceling statement due to lock timeout")
        return real(claimed)

    monkeypatch.setattr(services, "apply_together", slow)
    # Half the lease is 15 s: together 4 s, then three of them.
    assert services.apply_due(budget_seconds=15) == {"applied": 3}
    left = InboxMessage.objects.filter(state="received")
    assert left.filter(lease_token=None, attempts=0, due_at__lte=Now()).count() == 17


def test_an_operator_discards_a_result_under_a_lease_and_the_worker_then_changes_nothing(results):
    (txn_id,) = results(1)
    (claimed,) = inbox.claim(1)
    assert services.discard([claimed.id], "kills every worker") == 1
    assert services._apply_safely(claimed) == "lost"
    assert InboxMessage.objects.get().state == "dead"
    assert Transaction.objects.get(id=txn_id).status == "pending"


def test_reapply_takes_a_failed_result_from_its_worker_and_it_is_applied_once(results):
    ids = results(1)
    InboxMessage.objects.update(state="failed", attempts=3)
    (claimed,) = inbox.claim(1)
    assert services.reapply([claimed.id]) == 1 and services.reapply([claimed.id]) == 0
    assert services._apply_safely(claimed) == "lost"
    assert apply() == {"applied": 1}
    assert_each_changed_once(ids)


@pytest.mark.postgres
def test_twenty_results_cost_the_round_trips_of_one(results, django_assert_num_queries):
    ids = results(20)
    claimed = inbox.claim(20)
    # Savepoint and its release are those of the test around it: a worker sends BEGIN and COMMIT in their place.
    with django_assert_num_queries(6) as sent:
        services.apply_together(claimed)
    assert [query["sql"].split()[0] for query in sent] == ["SAVEPOINT", "SET", "SELECT", "UPDATE", "UPDATE", "RELEASE"]
    assert_each_changed_once(ids)


def test_results_of_one_transaction_in_one_batch_are_judged_one_after_the_other(results):
    (txn_id,) = results(1)
    for number, outcome in enumerate(["processing", "processing", "failed"]):
        record(f"msg_more_{number}", body_of(txn_id, outcome), transaction_id=txn_id)
    # In the order in which they came: the success of `results` was the first.
    assert apply() == {"applied": 1, "noop": 2, "conflict": 1}
    states = list(HistoryEntry.objects.filter(transaction_id=txn_id).order_by("id").values_list("kind", "state"))
    assert states[-5:] == [
        ("change", ""),
        ("result", "applied"),
        ("result", "noop"),
        ("result", "noop"),
        ("result", "conflict"),
    ]


# --- one bad result, and a bad moment of the database


def poison(monkeypatch, bad, error):
    """apply_results raises `error` when the transaction `bad` is among them, after it has written something."""
    real = services.transactions.apply_results

    def wrapped(results):
        verdicts = real(results)
        if bad in {result.transaction_id for result in results}:
            raise error
        return verdicts

    monkeypatch.setattr("webhooks.services.transactions.apply_results", wrapped)


def test_one_bad_result_costs_its_batch_nothing_and_leaves_nothing_half_done(results, monkeypatch):
    ids = results(12)
    poison(monkeypatch, ids[5], RuntimeError("boom"))
    assert apply() == {"applied": 11, "failed": 1}
    assert_each_changed_once([txn_id for txn_id in ids if txn_id != ids[5]])
    bad = InboxMessage.objects.get(state="failed")
    assert bad.webhook_id == "msg_5" and "boom" in bad.reason and bad.attempts == 1 and bad.lease_token is None
    assert not HistoryEntry.objects.filter(transaction_id=ids[5], kind="result").exists()


def database_error(kind, pgcode=None):
    error = kind("as libpq said it")
    error.__cause__ = type("Cause", (psycopg2.Error,), {"pgcode": pgcode})()
    return error


@pytest.mark.parametrize("pgcode", ["40P01", "40001", "55P03", "57014"])
def test_a_deadlock_or_a_lock_timeout_is_nobodys_attempt_and_stops_no_other(results, monkeypatch, pgcode):
    ids = results(6)
    poison(monkeypatch, ids[2], database_error(OperationalError, pgcode))
    assert apply() == {"applied": 5, "busy": 1}
    row = InboxMessage.objects.get(webhook_id="msg_2")
    assert (row.state, row.attempts, row.lease_token) == ("received", 0, None)
    monkeypatch.undo()
    make_due()
    assert apply() == {"applied": 1}
    assert_each_changed_once(ids)


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError, DatabaseError])
def test_a_database_that_goes_away_in_a_batch_hands_all_of_it_back_without_an_attempt(results, monkeypatch, kind):
    ids = results(30)
    poison(monkeypatch, ids[3], database_error(kind))
    with pytest.raises(kind):
        apply()
    monkeypatch.undo()
    waiting = InboxMessage.objects.filter(state="received")
    assert waiting.count() == waiting.filter(attempts=0, lease_token=None, due_at__lte=Now()).count() > 0
    apply()
    assert_each_changed_once(ids)


def somebody_waits():
    """For us."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)))")
        return cursor.fetchone()[0]


def test_only_what_the_statement_or_its_values_did_counts_as_the_results_own():
    assert database_trouble(RuntimeError("database is locked")) is Trouble.NONE
    assert database_trouble(OperationalError("database is locked")) is Trouble.BUSY
    assert database_trouble(database_error(DatabaseError)) is Trouble.AWAY


class TestDatabase:
    pytestmark = races

    def test_a_backend_killed_in_the_middle_costs_nothing(self, results, monkeypatch):
        ids = results(10)
        real, calls = services.inbox.settle, []

        def wrapped(settlements):
            calls.append(settlements)
            if len(calls) == 1:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return real(settlements)

        monkeypatch.setattr("webhooks.services.inbox.settle", wrapped)
        assert apply() == {"applied": 10}
        assert [len(each) for each in calls] == [10, *[1] * 10], "the first try was cut"
        assert_each_changed_once(ids)

    def test_a_commit_whose_answer_is_lost_is_not_applied_again(self, results, monkeypatch):
        ids = results(10)
        real, cut = connection._commit, []

        def commit():
            real()
            if not cut and InboxMessage.objects.filter(state="applied").exists():
                cut.append(True)
                raise OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(connection, "_commit", commit)
        assert apply() == {"lost": 10}
        assert cut and Counter(InboxMessage.objects.values_list("state", flat=True)) == {"applied": 10}
        assert_each_changed_once(ids)

    def test_a_transaction_that_somebody_holds_delays_its_own_result_only(self, results):
        ids = results(8)
        held, done = threading.Event(), threading.Event()

        def hold():
            with transaction.atomic():
                Transaction.objects.select_for_update().get(id=ids[3])
                held.set()
                done.wait(30)

        holder = in_thread(hold)
        assert held.wait(10)
        started = time.monotonic()
        assert apply() == {"applied": 7, "busy": 1}
        assert time.monotonic() - started < 5, "no lock is waited for longer than LOCK_WAIT_MILLISECONDS, twice"
        done.set()
        holder.result(10)
        make_due(state="received")
        assert apply() == {"applied": 1}
        assert_each_changed_once(ids)

    def test_a_deadlock_with_somebody_who_locks_in_the_other_order_is_survived(self, results):
        ids = sorted(results(2))
        theirs = threading.Event()

        def rival():
            try:
                with transaction.atomic():
                    Transaction.objects.select_for_update().get(id=ids[1])
                    theirs.set()
                    wait_for(somebody_waits, 10, "the worker has the first and waits for the second")
                    Transaction.objects.select_for_update().get(id=ids[0])
            except OperationalError:
                return "rolled back"
            return "committed"

        other = in_thread(rival)
        assert theirs.wait(10)
        counts = apply()
        assert other.result(20) in {"rolled back", "committed"}
        make_due(state="received")
        counts += apply()
        del counts["busy"]
        assert counts == {"applied": 2}
        assert_each_changed_once(ids)


# --- waiting for the transaction


def test_the_reason_that_is_kept_and_shown_to_the_consumer_holds_no_row(txns, monkeypatch):
    """PostgreSQL writes the whole row into its DETAIL."""
    (txn_id,) = txns(1)
    record("msg_1", body_of(txn_id), transaction_id=txn_id)
    error = IntegrityError('violates check "never" DETAIL: Failing row contains (DE89370400440532013000, 125.50).')
    error.__cause__ = Exception()
    error.__cause__.pgcode, error.__cause__.diag = "23514", SimpleNamespace(constraint_name="never")
    poison(monkeypatch, txn_id, error)
    assert apply() == {"failed": 1}
    assert InboxMessage.objects.get().reason == "IntegrityError: SQLSTATE 23514, constraint never"


def test_waiting_for_its_transaction_uses_up_no_attempts(txns, settings, monkeypatch):
    unknown = uuid.uuid4()
    record("msg_u", body_of(unknown), transaction_id=unknown)
    for _ in range(settings.INBOX_MAX_ATTEMPTS + 3):
        assert apply() == {"unmatched": 1}
        make_due()
    poison(monkeypatch, unknown, RuntimeError("boom"))
    assert apply() == {"failed": 1}, "its first failure, and not its last"


def test_what_a_clock_that_was_ahead_has_put_off_is_applied_once_it_is_recalled(results):
    """The database's clock was an hour ahead when results came, or failed; an unmatched one may wait as long by right."""
    results(3)
    InboxMessage.objects.update(due_at=Now() + timedelta(hours=1))
    InboxMessage.objects.filter(webhook_id="msg_1").update(state="failed")
    InboxMessage.objects.filter(webhook_id="msg_2").update(state="unmatched")
    assert not apply()
    assert (services.recall(), services.recall()) == (2, 0)
    assert apply() == {"applied": 2}


def test_an_unmatched_result_is_looked_at_ever_more_seldom_until_its_day_is_over(settings):
    unknown = uuid.uuid4()
    record("msg_u", body_of(unknown), transaction_id=unknown)
    waits = []
    for hours in (0, 0.1, 1, 10, 23.9):
        InboxMessage.objects.update(received_at=Now() - timedelta(hours=hours))
        make_due()
        before = InboxMessage.objects.get().due_at
        assert apply() == {"unmatched": 1}
        waits.append((InboxMessage.objects.get().due_at - before).total_seconds())
    assert waits[0] < waits[1] < waits[2] and waits[0] < 5
    assert all(1.5 * 3600 < wait < 2.5 * 3600 for wait in waits[3:])
    InboxMessage.objects.update(received_at=Now() - timedelta(hours=24, seconds=1))
    make_due()
    assert apply() == {"dead": 1}
    assert InboxMessage.objects.get().reason


def test_a_result_may_overtake_the_settlement_of_its_event(results):
    (txn_id,) = results(1)
    assert OutboxMessage.objects.get().state == "pending"
    assert apply() == {"applied": 1}
    assert OutboxMessage.objects.get().state == "pending", "the relay goes on with its own business"
    assert_each_changed_once([txn_id])


def test_processing_and_the_outcome_in_one_batch_are_applied_in_the_order_they_came(txns):
    (txn_id,) = txns(1)
    record("msg_1", body_of(txn_id, "processing"), transaction_id=txn_id)
    record("msg_2", body_of(txn_id), transaction_id=txn_id)
    assert apply() == {"applied": 2}
    changes = HistoryEntry.objects.filter(kind="change", by="consumer").order_by("id")
    assert list(changes.values_list("status", flat=True)) == ["processing", "succeeded"]


# --- the queue door


@pytest.fixture
def queue_door(monkeypatch):
    """receive_result with a proven signature; the pauses it made, by a clock that only they and tries move."""
    pauses, tried = [], []
    monkeypatch.setattr(tasks.receiving, "check", lambda headers, body, now: Verified("msg_q", 1, "k"))
    clock = SimpleNamespace(sleep=pauses.append, monotonic=lambda: sum(pauses) + sum(tried), tried=tried)
    monkeypatch.setattr("tenacity.time", clock)
    monkeypatch.setattr("tenacity.nap.time", clock)
    return pauses


def failing(monkeypatch, error, times, seconds=0.0):
    real, calls = tasks.receiving.receive, []

    def receive(*args, **kwargs):
        calls.append(args)
        tenacity.time.tried.append(seconds)
        if len(calls) <= times:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(tasks.receiving, "receive", receive)


def test_a_result_from_the_queue_waits_for_the_database_and_is_recorded_once(queue_door, monkeypatch):
    failing(monkeypatch, OperationalError("could not connect"), times=3)
    tasks.receive_result.run(headers={}, body=body_of(uuid.uuid4()).decode())
    assert InboxMessage.objects.get().deliveries == 1 and len(queue_door) == 3


def test_a_result_from_the_queue_goes_back_when_the_database_stays_away(queue_door, monkeypatch):
    failing(monkeypatch, OperationalError("could not connect"), times=99)
    with pytest.raises(Reject) as rejected:
        tasks.receive_result.run(headers={}, body="{}")
    # An exception would let Celery acknowledge the message: the result would be gone.
    assert rejected.value.requeue is True
    assert 15 < sum(queue_door) <= 25, "waits, or the queue's delivery limit is used up in a second"


@pytest.mark.parametrize("seconds", [3, 9, 18])
def test_a_database_that_swallows_every_packet_is_given_up_before_the_soft_time_limit(queue_door, monkeypatch, seconds):
    """A try takes the connection's time-out for each host: two hosts, tried thrice, are 18 seconds."""
    failing(monkeypatch, OperationalError("timeout expired"), times=99, seconds=seconds)
    with pytest.raises(Reject) as rejected:
        tasks.receive_result.run(headers={}, body="{}")
    assert rejected.value.requeue is True
    assert 15 < tenacity.time.monotonic() < current_app.conf.task_soft_time_limit


def test_time_that_is_up_is_no_defect_of_the_result(queue_door, monkeypatch):
    failing(monkeypatch, SoftTimeLimitExceeded(), times=99)
    with pytest.raises(Reject) as rejected:
        tasks.receive_result.run(headers={}, body="{}")
    assert rejected.value.requeue is True


def test_a_defect_of_ours_makes_a_dead_letter_and_loses_no_result(queue_door, monkeypatch):
    failing(monkeypatch, ZeroDivisionError(), times=99)
    with pytest.raises(Reject) as rejected:
        tasks.receive_result.run(headers={}, body="{}")
    assert rejected.value.requeue is False and queue_door == []
