"""The runner asks the tests it says it asks, and the table keeps what an earlier run found."""

from tests.mutants.run import Report, run_tests
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


def test_only_tests_with_the_marks_are_run_and_never_the_long_ones(tmp_path, monkeypatch):
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    processes\n    long\n")
    (tmp_path / "test_it.py").write_text(SOURCE)
    run = {marks: run_tests(tmp_path, ["test_it.py"], marks, seconds=60, stop_after=0) for marks in MARKS}
    assert {marks: names(report) for marks, report in run.items()} == MARKS


MARKS = {"": {"test_quick", "test_slow"}, "not processes": {"test_quick"}, "processes": {"test_slow"}}


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
