"""Celery's reliability options: each one was chosen, so each one is held."""

import contextlib
import json

import pytest
from celery.app.trace import build_tracer
from django.db import OperationalError
from django_celery_results.models import TaskResult

from outbox import topology
from producer.celery import app, configuration
from producer.instruments import TASKS
from scheduler import tasks
from scheduler.schedule import SCHEDULE, beat_schedule
from webhooks import nudge
from webhooks.tasks import apply_results


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_acks_late", True),
        ("task_reject_on_worker_lost", True),
        ("worker_prefetch_multiplier", 1),
        ("broker_connection_max_retries", None),
        ("broker_connection_retry_on_startup", True),
        ("broker_channel_error_retry", True),
        ("worker_cancel_long_running_tasks_on_connection_loss", True),
        ("accept_content", ["json"]),
        ("result_accept_content", ["json"]),
        ("event_serializer", "json"),
        ("task_create_missing_queues", False),
        ("result_backend_always_retry", True),
        ("result_backend_max_retries", 10),
        ("task_time_limit", 60),
        ("task_soft_time_limit", 45),
        ("worker_max_tasks_per_child", 1000),
        ("enable_utc", True),
    ],
)
def test_the_option_is_as_decided(name, value):
    assert configuration()[name] == value


def test_every_scheduled_task_exists_and_expires_before_it_can_pile_up():
    app.loader.import_default_modules()
    for name, entry in beat_schedule(expiring=True).items():
        assert entry["task"] in app.tasks, name
        assert entry["options"]["expire_seconds"] <= max(10, 4 * entry["schedule"])
    assert SCHEDULE["relay"].every == 1


def test_on_rabbitmq_no_clock_but_the_brokers_judges_how_long_a_tick_or_a_nudge_waited(monkeypatch, settings):
    """An hour between the clocks of beat or web and worker would drop each of them."""
    settings.BROKER_URL = "amqp://guest:guest@127.0.0.1:5672//"
    assert {entry["options"]["expire_seconds"] for entry in beat_schedule(expiring=False).values()} == {None}
    if app.conf.broker_url.startswith("amqp"):
        assert app.conf.beat_schedule == beat_schedule(expiring=False)
    wake_ups = topology.worker_queues([topology.TASK_QUEUE, topology.RESULT_QUEUE])[0]
    assert wake_ups.queue_arguments["x-message-ttl"] == 30_000
    sent = []
    monkeypatch.setattr(nudge._link, "producer", contextlib.nullcontext)
    monkeypatch.setattr(nudge.current_app, "send_task", lambda name, **options: sent.append((name, options["expires"])))
    nudge._send()
    assert sent == [("webhooks.apply_results", None)]


def traced(task):
    """Runs it as a worker's process does."""
    run = build_tracer(task.name, task, app=app, eager=False)
    return run("an-id", (), {}, {"id": "an-id", "args": (), "kwargs": {}, "delivery_info": {}, "retries": 0})


@pytest.mark.django_db
@pytest.mark.parametrize(
    "task", [tasks.relay, tasks.sweep_inbox, tasks.mark_overdue, tasks.prune, apply_results], ids=lambda task: task.name
)
def test_a_tick_that_found_nothing_leaves_no_result_row_and_no_traceback(task, caplog):
    counted = TASKS.labels(task.name, "ignored")._value.get()
    traced(task)
    assert not TaskResult.objects.exists()
    assert TASKS.labels(task.name, "ignored")._value.get() == counted + 1
    assert "Traceback" not in caplog.text


@pytest.fixture
def prune_with(monkeypatch):
    """Runs prune with these jobs in place of its parts."""

    def run(outbox, inbox, keys):
        monkeypatch.setattr(tasks.heartbeat, "forget", lambda: 0)
        monkeypatch.setattr(tasks.outbox_prune, "prune_once", outbox)
        monkeypatch.setattr(tasks.webhooks_prune, "prune_once", inbox)
        monkeypatch.setattr(tasks.idempotency, "prune_once", keys)
        monkeypatch.setattr(tasks.outbox, "recall", lambda: 0)
        monkeypatch.setattr(tasks.webhooks, "recall", lambda: 0)
        tasks.prune()

    return run


def test_a_part_of_prune_that_fails_keeps_no_other_from_its_turn_and_the_task_says_so(prune_with):
    asked = []

    def fails():
        raise OperationalError("canceling statement due to statement timeout")

    with pytest.raises(OperationalError):
        prune_with(fails, lambda: asked.append("inbox"), lambda: asked.append("keys"))
    assert asked == ["inbox", "keys"]


def test_a_part_of_prune_with_much_to_do_leaves_the_others_their_share(prune_with, monkeypatch):
    clock, asked = [0.0], []
    monkeypatch.setattr(tasks.time, "monotonic", lambda: clock[0])

    def never_done():
        clock[0] += 1
        return 5000

    prune_with(never_done, lambda: asked.append("inbox"), lambda: asked.append("keys"))
    assert asked == ["inbox", "keys"] and clock[0] <= tasks.PRUNE_BUDGET_SECONDS


@pytest.mark.django_db
def test_one_that_found_something_leaves_a_row(monkeypatch):
    monkeypatch.setattr(tasks, "apply_due", lambda **_: {"applied": 2})
    traced(tasks.sweep_inbox)
    (row,) = TaskResult.objects.all()
    assert (row.status, json.loads(row.result)) == ("SUCCESS", {"applied": 2})
