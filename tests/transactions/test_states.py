"""The states and the verdicts, each combination written out by hand."""

from __future__ import annotations

import pytest

from transactions.states import ALLOWED_MOVES, RESULT_STATUS, TERMINAL, Status, judge_result

# The transaction is at version 2. Columns: the result is for version 1 (older), 2 (current), 3 (not reached yet).
VERDICTS = """
pending     transaction.processing  superseded  apply     unmatched
pending     transaction.succeeded   superseded  apply     unmatched
pending     transaction.failed      superseded  apply     unmatched
processing  transaction.processing  superseded  noop      unmatched
processing  transaction.succeeded   superseded  apply     unmatched
processing  transaction.failed      superseded  apply     unmatched
succeeded   transaction.processing  noop        noop      unmatched
succeeded   transaction.succeeded   noop        noop      unmatched
succeeded   transaction.failed      conflict    conflict  unmatched
failed      transaction.processing  noop        noop      unmatched
failed      transaction.succeeded   conflict    conflict  unmatched
failed      transaction.failed      noop        noop      unmatched
canceled    transaction.processing  noop        noop      unmatched
canceled    transaction.succeeded   conflict    conflict  unmatched
canceled    transaction.failed      conflict    conflict  unmatched
"""
ROWS = [
    (status, result_type, version, verdict)
    for status, result_type, *verdicts in (line.split() for line in VERDICTS.strip().splitlines())
    for version, verdict in zip((1, 2, 3), verdicts, strict=True)
]


@pytest.mark.parametrize("status, result_type, version, verdict", ROWS)
def test_each_result_gets_the_verdict_of_the_contract(
    status: str, result_type: str, version: int, verdict: str
) -> None:
    assert (
        judge_result(
            current_status=status,
            current_version=2,
            result_type=result_type,
            result_version=version,
            transaction_known=True,
        )
        == verdict
    )


def test_the_table_covers_every_combination() -> None:
    assert len(ROWS) == len(set(ROWS)) == len(Status) * len(RESULT_STATUS) * 3


@pytest.mark.parametrize("result_type", ["transaction.processing", "transaction.succeeded", "transaction.failed"])
def test_an_unknown_transaction_is_unmatched(result_type: str) -> None:
    verdict = judge_result(
        current_status=None, current_version=None, result_type=result_type, result_version=1, transaction_known=False
    )
    assert verdict == "unmatched"


@pytest.mark.parametrize("result_type", ["transaction.canceled", "transaction.created", "", "processing"])
def test_what_is_no_type_of_result_is_never_judged(result_type: str) -> None:
    for known in (True, False):
        with pytest.raises(ValueError):
            judge_result(
                current_status="pending",
                current_version=1,
                result_type=result_type,
                result_version=1,
                transaction_known=known,
            )


def test_a_known_transaction_without_status_or_with_an_unknown_one_is_an_error() -> None:
    for status, version in ((None, 1), ("pending", None), ("done", 1)):
        with pytest.raises(ValueError):
            judge_result(
                current_status=status,
                current_version=version,
                result_type="transaction.succeeded",
                result_version=1,
                transaction_known=True,
            )


def test_the_allowed_moves_are_these_six() -> None:
    assert {(start, end) for start, ends in ALLOWED_MOVES.items() for end in ends} == {
        ("pending", "processing"),
        ("pending", "succeeded"),
        ("pending", "failed"),
        ("pending", "canceled"),
        ("processing", "succeeded"),
        ("processing", "failed"),
    }


def test_terminal_statuses_are_three_and_nothing_leaves_them() -> None:
    assert set(TERMINAL) == {"succeeded", "failed", "canceled"}
    assert not any(ALLOWED_MOVES[start] for start in TERMINAL)
