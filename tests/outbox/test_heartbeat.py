"""Processes that say that they live: rarely, truly, and never at the price of their work."""

from datetime import timedelta

import pytest
from django.db import OperationalError

from outbox import heartbeat
from outbox.clock import database_now
from outbox.heartbeat import Heart
from outbox.models import ProcessState
from outbox.stats import states

pytestmark = pytest.mark.django_db


def test_a_heart_writes_one_row_and_then_only_every_interval(monkeypatch, django_assert_num_queries):
    heart = Heart("relay")
    assert heart.beat("waits")
    with django_assert_num_queries(0):
        assert not heart.beat()
    monkeypatch.setattr(heart, "_next", 0.0)
    assert heart.beat()
    (state,) = states().processes
    assert state.kind == "relay" and state.note == "" and state.alive and state.silent_seconds < 5


def test_a_clock_that_is_ahead_is_written_down(monkeypatch):
    real = heartbeat.time.time
    monkeypatch.setattr(heartbeat.time, "time", lambda: real() + 400)
    Heart("worker").beat()
    assert 395 < states().processes[0].clock_offset_seconds < 405


def test_a_database_that_is_away_costs_the_work_nothing(monkeypatch):
    def away():
        raise OperationalError("gone")

    monkeypatch.setattr(heartbeat, "measure_clock", away)
    assert not Heart("relay").beat()


def test_rows_of_processes_long_gone_are_dropped():
    ProcessState.objects.create(name="old", kind="relay", seen_at=database_now() - timedelta(hours=2))
    ProcessState.objects.create(name="new", kind="relay")
    assert heartbeat.forget() == 1 and ProcessState.objects.get().name == "new"


def test_the_last_of_a_kind_is_not_forgotten_until_another_came_in_its_place():
    for name, kind, hours in (("a", "relay", 3), ("b", "relay", 2), ("c", "worker", 2), ("d", "worker", 0)):
        ProcessState.objects.create(name=name, kind=kind, seen_at=database_now() - timedelta(hours=hours))
    assert heartbeat.forget() == 2 and heartbeat.forget() == 0
    assert [process.name for process in states().processes] == ["d", "b"]
    Heart("relay").beat()
    assert heartbeat.forget() == 1
    assert [process.kind for process in states().processes] == ["relay", "worker"]


def test_the_last_of_a_kind_is_seen_behind_any_number_of_others():
    ProcessState.objects.create(name="dead", kind="relay", seen_at=database_now() - timedelta(hours=2))
    ProcessState.objects.bulk_create(ProcessState(name=f"worker {n}", kind="worker") for n in range(150))
    found = states().processes
    assert len(found) == 101 and found[-1].name == "dead" and not found[-1].alive


def test_who_stops_as_told_takes_along_its_own_word_and_those_of_the_dead_but_not_of_the_living():
    for name, kind, seconds in (("dead", "relay", 60), ("alive", "relay", 1), ("other", "beat", 60)):
        ProcessState.objects.create(name=name, kind=kind, seen_at=database_now() - timedelta(seconds=seconds))
    heart = Heart("relay")
    heart.beat()
    heart.stop()
    assert [process.name for process in states().processes] == ["alive", "other"]


def test_a_database_that_is_away_does_not_keep_anybody_from_stopping(monkeypatch):
    def away():
        raise OperationalError("gone")

    monkeypatch.setattr(heartbeat, "database_now", away)
    Heart("relay").stop()
