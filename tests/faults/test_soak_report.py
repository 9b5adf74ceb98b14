"""The soak's figures: calm and faulty times are told apart, and a slope is what it says."""

import pytest

from tests.faults.soak_report import AFTERMATH_SECONDS, percentile, report, slope_per_hour


def test_a_flat_line_has_no_slope_and_a_growing_one_has_its_own():
    flat = [(float(second), 100.0) for second in range(0, 3600, 10)]
    assert slope_per_hour(flat) == pytest.approx(0, abs=0.1)
    growing = [(float(second), 100.0 + second / 3600 * 10) for second in range(0, 3600, 10)]
    assert slope_per_hour(growing) == pytest.approx(9.5, abs=0.3), "ten on a median of 105"


def test_a_percentile_is_a_value_that_was_measured():
    assert percentile([5.0, 1.0, 3.0], 0.5) == 3.0
    assert percentile([1.0, 2.0], 0.99) == 2.0
    assert percentile([], 0.5) is None


def a_sample(at):
    tables = {"transactions_transaction": {"table": int(at * 1000), "indexes": 0, "live": 0, "dead": 0}}
    processes = {"web": {"rss_kb": 1024 * 100, "threads": 4, "files": 9, "processes": 3}}
    return {
        "at": at,
        "processes": processes,
        "connections": {"idle": 5},
        "tables": tables,
        "indexes": {"outbox_due": 8192},
        "in_flight": 3,
        "ended": int(at * 10),
    }


def test_what_happened_in_and_just_after_a_fault_is_left_out_of_the_latencies():
    windows = [{"fault": "kill", "from": 50.0, "healed": 52.0}]
    after = 52.0 + AFTERMATH_SECONDS
    answers = [(10.0, 5, 201), (51.0, 9000, 201), (after - 1, 900, 201), (after + 1, 7, 201), (20.0, 1, 503)]
    found = report(
        samples=[a_sample(float(at)) for at in range(0, 100, 2)],
        windows=windows,
        answers=answers,
        lifetimes=[(10.0, 0.5), (51.0, 30.0), (after + 1, 0.7)],
        span=(0.0, 100.0),
    )
    assert found["submit_ms"] == {"p50": 7, "p99": 7, "n": 2}
    assert found["end_to_end_s"]["p99"] == 0.7 and found["end_to_end_s"]["n"] == 2
    assert found["rate_sustained_per_s"] == 10.0
    assert found["slopes_percent_per_hour"]["rss"]["web"] == pytest.approx(0, abs=0.1)
    assert found["bytes_per_transaction"]["transactions_transaction"]["last quarter"] == 100
