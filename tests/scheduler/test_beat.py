"""Beat without a broker: the ticks that matter run in place, nothing waits, and workers take over again."""

import socket
import threading
import time
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone
from django_celery_beat import schedulers
from django_celery_beat.models import PeriodicTask

from outbox.wakeup import TaskLink
from producer.celery import app
from scheduler import beat
from scheduler.beat import InPlaceScheduler
from scheduler.schedule import SCHEDULE

pytestmark = pytest.mark.django_db


@pytest.fixture
def ran(monkeypatch):
    """Which ticks ran in place; in the test's own thread, so that nothing is left behind."""
    done = []

    class Immediately(threading.Thread):
        def start(self):
            self._target(*self._args)

        def is_alive(self):
            return False

    monkeypatch.setattr(beat.threading, "Thread", Immediately)
    monkeypatch.setattr(beat.connections, "close_all", lambda: None)
    monkeypatch.setattr(beat, "JOBS", {task: (lambda task=task: done.append(task)) for task in beat.JOBS})
    return done


@pytest.fixture
def scheduler(monkeypatch):
    def forbidden(*args, **kwargs):
        pytest.fail("waits for the broker")

    monkeypatch.setattr(InPlaceScheduler, "_ensure_connected", forbidden)
    # Inside a test's transaction that would close its connection.
    monkeypatch.setattr(schedulers, "close_old_connections", lambda: None)
    made = InPlaceScheduler(app=app)
    made._finalize.cancel()
    yield made
    made._link.close()


def broker_at(monkeypatch, port):
    if not app.conf.broker_url.startswith("amqp"):
        pytest.skip("needs RabbitMQ: the embedded transport has no address that could be away")
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    original = app.connection_for_write
    monkeypatch.setattr(app, "connection_for_write", lambda **options: original(url, **options))


@pytest.fixture
def no_broker(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        broker_at(monkeypatch, unused.getsockname()[1])
        yield


@pytest.fixture
def frozen_broker(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker_at(monkeypatch, silent.getsockname()[1])
        yield


class WorkingLink:
    """A broker that takes everything."""

    def __init__(self):
        self.closed = 0

    def producer(self):
        return self

    def __enter__(self):
        return "producer"

    def __exit__(self, *args):
        return False

    def close(self):
        self.closed += 1


@pytest.fixture
def sent(monkeypatch, scheduler):
    """Which tasks were sent, with their options, over a broker that works."""
    tasks = []
    monkeypatch.setattr(
        InPlaceScheduler,
        "apply_async",
        lambda self, entry, producer=None, advance=True: tasks.append((entry.task, producer, dict(entry.options))),
    )
    scheduler._link = WorkingLink()
    return tasks


def everything_due(scheduler):
    """As if the last run of every entry were an hour ago."""
    PeriodicTask.objects.exclude(name="celery.backend_cleanup").update(last_run_at=timezone.now() - timedelta(hours=1))
    PeriodicTask.objects.filter(name="celery.backend_cleanup").update(enabled=False)
    scheduler._initial_read = True
    scheduler._heap = None


def tick_until_idle(scheduler):
    for _ in range(20):
        if scheduler.tick():
            return
    pytest.fail("never idle")


# --- The clock ---------------------------------------------------------------------------------------------------------


def test_after_a_start_with_a_corrected_clock_nothing_waits_for_that_time_to_come_again(scheduler, sent):
    everything_due(scheduler)
    # What a beat an hour ahead saved as it was stopped.
    PeriodicTask.objects.exclude(name="celery.backend_cleanup").update(last_run_at=timezone.now() + timedelta(hours=1))
    relays = []
    for _ in range(3):
        tick_until_idle(scheduler)
        relays.append([task for task, _, _ in sent].count("scheduler.relay"))
        time.sleep(1.1)
    assert relays == [0, 1, 2], "by its interval, from the start"
    assert "scheduler.sweep_inbox" in {task for task, _, _ in sent}


def test_a_clock_set_back_while_it_runs_delays_nothing(scheduler, sent, caplog):
    caplog.set_level("WARNING", logger="scheduler.beat")
    everything_due(scheduler)
    tick_until_idle(scheduler)
    sent.clear()
    hour = timedelta(hours=1)
    # As if all of that had been by a clock an hour ahead, set right since.
    scheduler._clock_ahead += hour.total_seconds()
    scheduler._heap = [event._replace(time=event.time + hour.total_seconds()) for event in scheduler._heap]
    for _, _, entry in scheduler._heap:
        entry.last_run_at += hour
    for _ in range(3):
        tick_until_idle(scheduler)
        time.sleep(1.1)
    assert {task for task, _, _ in sent} >= {"scheduler.relay", "scheduler.sweep_inbox"}
    assert caplog.text.count("the clock was set") == 1


# --- The broker is away ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("away", ["no_broker", "frozen_broker"])
def test_while_the_broker_is_away_each_in_place_tick_runs_here_and_nothing_waits(scheduler, ran, request, away):
    request.getfixturevalue(away)
    everything_due(scheduler)
    began = time.monotonic()
    tick_until_idle(scheduler)
    assert time.monotonic() - began < 4
    assert set(ran) == {entry.task for entry in SCHEDULE.values() if entry.in_place}


def test_other_entries_are_skipped_with_a_line_in_the_log(scheduler, ran, no_broker, caplog):
    caplog.set_level("WARNING", logger="scheduler.beat")
    everything_due(scheduler)
    tick_until_idle(scheduler)
    assert "scheduler.prune" not in ran
    skipped = [record.task for record in caplog.records if "skipped" in record.message]
    assert skipped == ["scheduler.prune"]


def test_every_in_place_entry_has_its_job():
    assert {entry.task for entry in SCHEDULE.values() if entry.in_place} == set(beat.JOBS)


def test_an_away_broker_is_asked_once_and_then_left_alone(scheduler, ran, no_broker, monkeypatch):
    tries = []
    original = TaskLink._open
    monkeypatch.setattr(TaskLink, "_open", lambda link: tries.append(1) or original(link))
    everything_due(scheduler)
    tick_until_idle(scheduler)
    assert len(set(ran)) == 3
    assert len(tries) == 1


def test_a_tick_that_still_runs_is_not_started_again(scheduler, no_broker, monkeypatch):
    started, release = [], threading.Event()
    monkeypatch.setattr(beat.connections, "close_all", lambda: None)
    monkeypatch.setattr(beat, "JOBS", {"scheduler.relay": lambda: started.append(1) or release.wait(10)})
    entry = scheduler.schedule["relay"]
    scheduler.apply_entry(entry)
    scheduler.apply_entry(entry)
    release.set()
    scheduler._running["scheduler.relay"].join(5)
    assert started == [1]


@pytest.mark.parametrize("error", [OperationalError("gone"), ValueError("a defect")])
def test_a_tick_that_fails_in_place_ends_neither_beat_nor_the_other_ticks(scheduler, ran, no_broker, error):
    def fail():
        raise error

    beat.JOBS["scheduler.relay"] = fail
    everything_due(scheduler)
    tick_until_idle(scheduler)
    assert set(ran) == {"scheduler.mark_overdue", "scheduler.sweep_inbox"}


def test_the_in_place_jobs_do_their_work(settings, monkeypatch):
    calls = {}
    monkeypatch.setattr(beat, "relay_pass", lambda budget_seconds: calls.update(relay=budget_seconds))
    monkeypatch.setattr(beat, "apply_due", lambda budget_seconds: calls.update(inbox=budget_seconds))
    for job in ("scheduler.relay", "scheduler.sweep_inbox"):
        beat.JOBS[job]()
    assert calls == {"relay": beat.IN_PLACE_BUDGET_SECONDS, "inbox": beat.IN_PLACE_BUDGET_SECONDS}
    assert beat.JOBS["scheduler.mark_overdue"]() == 0


# --- The broker is there ---------------------------------------------------------------------------------------------


def test_with_a_broker_every_due_task_is_sent_without_retries_and_nothing_runs_here(scheduler, ran, sent):
    everything_due(scheduler)
    tick_until_idle(scheduler)
    assert {task for task, _, _ in sent} == {entry.task for entry in SCHEDULE.values()}
    assert {producer for _, producer, _ in sent} == {"producer"}
    assert {options["retry"] for _, _, options in sent} == {False}
    assert ran == []


def test_ticks_go_to_the_workers_again_when_the_broker_is_back(scheduler, ran, sent, caplog):
    caplog.set_level("WARNING", logger="scheduler.beat")
    scheduler._away, scheduler._away_until = True, time.monotonic() + 60
    entry = scheduler.schedule["relay"]
    scheduler.apply_entry(entry)
    assert (ran, sent) == (["scheduler.relay"], [])
    scheduler._away_until = time.monotonic() - 1
    scheduler.apply_entry(entry)
    scheduler.apply_entry(entry)
    assert [task for task, _, _ in sent] == ["scheduler.relay"] * 2
    assert ran == ["scheduler.relay"]
    assert [record.message for record in caplog.records].count("beat: broker back, ticks go to the workers") == 1


def test_a_broker_that_dies_between_two_sends_costs_no_tick(scheduler, ran, monkeypatch):
    def broken(self, entry, producer=None, advance=True):
        raise ConnectionResetError

    monkeypatch.setattr(InPlaceScheduler, "apply_async", broken)
    scheduler._link = WorkingLink()
    scheduler.apply_entry(scheduler.schedule["inbox"])
    assert ran == ["scheduler.sweep_inbox"]


@pytest.mark.rabbitmq
def test_over_a_real_broker_the_task_arrives_at_the_workers_queue(scheduler, ran):
    with app.connection_for_write() as connection:
        channel = connection.channel()
        for queue in app.amqp.queues.values():
            queue(channel).declare()
        channel.queue_purge("producer.tasks.v1")
        scheduler.apply_entry(scheduler.schedule["overdue"])
        message = channel.basic_get("producer.tasks.v1", no_ack=True)
    assert message.headers["task"] == "scheduler.mark_overdue"
    assert ran == []


# --- The database is away --------------------------------------------------------------------------------------------


def test_a_database_that_dies_costs_one_interval_and_not_the_process(scheduler, monkeypatch):
    def gone(self):
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(InPlaceScheduler, "all_as_schedule", gone)
    monkeypatch.setattr(beat, "close_old_connections", lambda: None)
    scheduler._initial_read = True
    assert scheduler.tick() == scheduler.max_interval


def test_a_beat_that_starts_while_the_database_is_away_reads_its_schedule_when_it_is_back(monkeypatch, ran, sent):
    away = [True]
    read = schedulers.DatabaseScheduler.all_as_schedule

    def all_as_schedule(self):
        if away[0]:
            raise OperationalError("the database system is starting up")
        return read(self)

    monkeypatch.setattr(schedulers.DatabaseScheduler, "all_as_schedule", all_as_schedule)
    for module in (schedulers, beat):
        monkeypatch.setattr(module, "close_old_connections", lambda: None)
    made = InPlaceScheduler(app=app)
    made._finalize.cancel()
    assert made.tick() == made.max_interval
    away[0] = False
    made.tick()
    assert set(SCHEDULE) <= set(made.schedule)
    made._link.close()


def test_closing_does_not_open_a_connection(scheduler):
    scheduler._link = WorkingLink()
    scheduler.close()
    assert scheduler._link.closed == 1
