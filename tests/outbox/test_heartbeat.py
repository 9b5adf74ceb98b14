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
