"""The mutation table: a line at a time on the terminal, and the whole in docs/reliability.md."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.run import Report

BEGIN, END = "<!-- mutants -->", "<!-- /mutants -->"


@dataclass(frozen=True, slots=True)
class Row:
    """A mutant and what became of it."""

    name: str
    harm: str
    report: Report


def line_of(row: Row) -> str:
    """For the terminal."""
    report = row.report
    first = report.failed[0] if report.failed else report.trouble or "-"
    verdict = f"green ({report.passed} passed)" if report.green else f"caught by {first}"
    if row.name.startswith("("):
        verdict = f"green ({report.passed} passed)" if report.green else f"RED: {first}"
    elif report.green:
        verdict = "SURVIVED"
    return f"{row.name:36} {report.seconds:6.0f} s  {verdict}"


def write(document: Path, rows: list[Row]) -> None:
    """Puts the table between its marks."""
    lines = ["| bug | what it would do | caught by |", "|---|---|---|"]
    lines += [f"| `{row.name}` | {row.harm} | {_cell(row.report)} |" for row in rows]
    text, table = document.read_text(), "\n".join([BEGIN, *lines, END])
    written, marks = re.subn(f"{BEGIN}.*?{END}", lambda _: table, text, flags=re.DOTALL)
    if marks != 1:
        raise SystemExit(f"{document} has no place for the table: put {BEGIN} and {END} where it belongs.")
    document.write_text(written)


def _cell(report: Report) -> str:
    names = [_short(name) for name in report.failed[:2]] or [report.trouble]
    return "<br>".join(f"`{name}`" for name in names)


def _short(name: str) -> str:
    """The file and the test, without class and parameters."""
    path, _, test = name.partition("::")
    return f"{path.rsplit('/', 1)[-1]}: {re.sub(r'[[].*', '', test)}"
