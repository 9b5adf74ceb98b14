"""Ids that sort by time."""

import os
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox import ids
from outbox.ids import first_at, time_of, uuid7

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC))


def test_it_is_a_uuid_of_version_7():
    assert (uuid7().version, uuid7().variant) == (7, uuid.RFC_4122)


def test_ids_grow_strictly_within_a_process():
    made = [uuid7() for _ in range(20_000)]
    assert all(earlier < later for earlier, later in pairwise(made))


@pytest.mark.parametrize("step", [0, -10_000_000])
def test_a_clock_that_stands_still_or_steps_back_makes_no_smaller_id(monkeypatch, step):
    monkeypatch.setattr(ids, "_last_ticks", 0)
    now = [ids.time.time_ns()]

    def clock():
        now[0] += step
        return now[0]

    monkeypatch.setattr(ids.time, "time_ns", clock)
    made = [uuid7() for _ in range(100)]
    assert all(earlier < later for earlier, later in pairwise(made))


@pytest.mark.parametrize("seconds, frozen", [(5 - 1, True), (ids.STEP_BACK_SECONDS + 1, False), (86_400, False)])
def test_after_a_clock_that_was_far_ahead_ids_tell_the_time_again(monkeypatch, seconds, frozen):
    monkeypatch.setattr(ids, "_last_ticks", 0)
    real = ids.time.time_ns
    monkeypatch.setattr(ids.time, "time_ns", lambda: real() + seconds * 1_000_000_000)
    ahead = uuid7()
    monkeypatch.setattr(ids.time, "time_ns", real)
    made = [uuid7(), *ids.uuid7s(3)]
    assert (made[0] > ahead) is frozen
    assert (time_of(made[0]) - datetime.now(UTC) > timedelta(seconds=2)) is frozen
    assert all(earlier < later for earlier, later in pairwise(made))


def test_an_id_tells_when_it_was_made():
    before = datetime.now(UTC)
    made = time_of(uuid7())
    # A test before this one may have pushed the ids ahead of the clock by a few ticks.
    assert before - timedelta(milliseconds=1) <= made <= datetime.now(UTC) + timedelta(seconds=1)


@given(MOMENTS)
def test_the_first_id_of_a_moment_is_at_that_moment(moment):
    assert time_of(first_at(moment)) == moment


@given(MOMENTS.filter(lambda moment: moment.year > 1970))
def test_the_id_before_the_first_of_a_moment_is_earlier(moment):
    smallest = first_at(moment)
    ticks = (smallest.int >> 80) * 4096 + ((smallest.int >> 64) & 0xFFF)
    assert time_of(ids._from_ticks(ticks - 1, 2**62 - 1)) < moment


def test_before_the_epoch_there_is_nothing():
    assert first_at(datetime(1960, 1, 1, tzinfo=UTC)) == first_at(datetime(1970, 1, 1, tzinfo=UTC))


def test_many_at_once_grow_too_and_share_no_random_bits():
    made = [*ids.uuid7s(1000), *ids.uuid7s(3), uuid7()]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert len({value.int & (2**62 - 1) for value in made}) == 1004
    assert time_of(made[999]) - time_of(made[0]) < timedelta(milliseconds=1)
    assert ids.uuid7s(0) == []


def test_a_forked_process_goes_on_with_other_random_bits():
    uuid7()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, ids.uuid7().bytes[8:])
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 8) != uuid7().bytes[8:]
    os.close(reader)
    os.close(writer)


def test_an_id_of_another_version_has_a_time_too():
    assert time_of(uuid.UUID(int=2**128 - 1)) == datetime.max.replace(tzinfo=UTC)
    assert time_of(uuid.UUID(int=0)) == datetime(1970, 1, 1, tzinfo=UTC)
