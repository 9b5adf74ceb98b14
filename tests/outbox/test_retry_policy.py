"""Delays before the next attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.retry_policy import WEBHOOK_SCHEDULE_SECONDS, backoff_seconds, schedule_seconds


def most() -> float:
    return 1.0


def half() -> float:
    return 0.5


def least() -> float:
    return 0.0


@pytest.mark.parametrize("attempts, seconds", [(0, 2), (1, 2), (2, 4), (3, 8), (6, 64), (7, 100), (8, 100)])
def test_the_ceiling_doubles_up_to_the_cap(attempts: int, seconds: float) -> None:
    assert backoff_seconds(attempts, base=2, cap=100, random=most) == seconds


def test_jitter_is_full() -> None:
    assert backoff_seconds(3, base=2, cap=100, random=least) == 0
    assert backoff_seconds(3, base=2, cap=100, random=half) == 4


@pytest.mark.parametrize("attempts", [1_024, 1_025, 10**6, 10**30])
def test_any_number_of_attempts_gives_the_cap(attempts: int) -> None:
    assert backoff_seconds(attempts, base=0.5, cap=300, random=most) == 300
    assert backoff_seconds(attempts, base=1e300, cap=300, random=most) == 300


def test_without_a_random_source_it_still_spreads() -> None:
    assert len({backoff_seconds(5, base=1, cap=60) for _ in range(20)}) > 1
    assert len({schedule_seconds(2) for _ in range(20)}) > 1


@given(st.integers(), st.floats(0.001, 1e6), st.floats(0.001, 1e6), st.floats(0, 1, exclude_max=True))
def test_the_wait_stays_between_zero_and_the_cap(attempts: int, base: float, cap: float, part: float) -> None:
    assert 0 <= backoff_seconds(attempts, base=base, cap=cap, random=lambda: part) <= cap


def test_the_webhook_schedule_is_that_of_standard_webhooks() -> None:
    assert sum(WEBHOOK_SCHEDULE_SECONDS) == 75 * 3600 + 35 * 60 + 5
    waits = [schedule_seconds(attempts, random=half) for attempts in range(1, 10)]
    assert waits == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]


@pytest.mark.parametrize("attempts, seconds", [(-1, 5), (0, 5), (1, 5), (2, 30), (3, 600), (4, 600), (10**30, 600)])
def test_the_schedule_is_followed_and_its_end_repeats(attempts: int, seconds: float) -> None:
    assert schedule_seconds(attempts, [5, 30, 600], random=half) == seconds


def test_jitter_goes_to_both_sides() -> None:
    assert schedule_seconds(1, [100], 0.2, random=least) == pytest.approx(80)
    assert schedule_seconds(1, [100], 0.2, random=most) == pytest.approx(120)
    assert schedule_seconds(1, [100], 0, random=most) == 100


def test_an_empty_schedule_and_a_senseless_jitter_are_refused() -> None:
    with pytest.raises(ValueError):
        schedule_seconds(1, [], random=half)
    for jitter in (-0.1, 1.1):
        with pytest.raises(ValueError):
            schedule_seconds(1, [5], jitter, random=half)
