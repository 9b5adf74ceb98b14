"""The runner asks the tests it says it asks, and the table keeps what an earlier run found."""

import pytest

from tests.mutants.__main__ import ALL, QUICK, SLOW
from tests.mutants.run import CannotAskError, Report, run_tests
from tests.mutants.table import BEGIN, END, Row, write

SOURCE = """
import pytest

def test_quick():
    assert False

@pytest.mark.processes
def test_slow():
    assert False

@pytest.mark.long
def test_of_an_hour():
    assert False
"""


def names(report):
    return {name.partition("::")[2] for name in report.failed}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nmarkers =\n    processes\n    long\n")
    (tmp_path / "test_it.py").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    ("marks", "asked"), [(ALL, {"test_quick", "test_slow"}), (QUICK, {"test_quick"}), (SLOW, {"test_slow"})]
)
def test_only_tests_with_the_marks_are_run_and_never_the_long_ones(folder, marks, asked):
    assert names(run_tests(folder, ["test_it.py"], marks, seconds=60, stop_after=0)) == asked


def test_a_question_that_pytest_does_not_understand_catches_nothing(folder):
    with pytest.raises(CannotAskError, match="Unknown marker"):
        run_tests(folder, ["test_it.py"], "no_such_mark", seconds=60, stop_after=0)


def a_row(name, *failed):
    return Row(name, "harm", Report(failed, 1, 1.0, ""))


def test_a_row_replaces_its_own_and_leaves_the_others(tmp_path):
    document = tmp_path / "document.md"
    document.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    write(
        document,
        [a_row("a"), a_row("gone", "tests/test_x::test_1"), a_row("c", "tests/test_x::test_2[p]")],
        [*"abc", "gone"],
    )
    write(document, [a_row("b", "tests/test_x::test_3"), a_row("a", "tests/test_x::test_4")], [*"abc"])
    lines = document.read_text().splitlines()
    assert [lines[0], *lines[4:7], lines[-1]] == [
        "before",
        "| `a` | harm | `test_x: test_4` |",
        "| `b` | harm | `test_x: test_3` |",
        "| `c` | harm | `test_x: test_2` |",
        "after",
    ]
    assert "gone" not in document.read_text()


def test_a_survivor_stands_in_the_table(tmp_path):
    document = tmp_path / "document.md"
    document.write_text(f"{BEGIN}{END}")
    write(document, [a_row("a")], ["a"])
    assert "| `a` | harm | **nothing** |" in document.read_text()
