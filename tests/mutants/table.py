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


def write(document: Path, rows: list[Row], names: list[str]) -> None:
    """Puts the rows into the table between its marks: in the order of `names`, beside those of earlier runs."""
    text = document.read_text()
    found = re.search(f"{BEGIN}(.*?){END}", text, flags=re.DOTALL)
    if not found:
        raise SystemExit(f"{document} has no place for the table: put {BEGIN} and {END} where it belongs.")
    cells = {match[1]: match[0] for match in re.finditer(r"^\| `(\S+)` \|.*$", found[1], flags=re.MULTILINE)}
    cells |= {row.name: f"| `{row.name}` | {row.harm} | {_cell(row.report)} |" for row in rows}
    head = ["| bug | what it would do | caught by |", "|---|---|---|"]
    table = "\n".join([BEGIN, *head, *(cells[name] for name in names if name in cells), END])
    document.write_text(text[: found.start()] + table + text[found.end() :])


def _cell(report: Report) -> str:
    if report.green:
        return "**nothing**"
    names = [_short(name) for name in report.failed[:2]] or [report.trouble]
    return "<br>".join(f"`{name}`" for name in names)


def _short(name: str) -> str:
    """The file and the test, without class and parameters."""
    path, _, test = name.partition("::")
    return f"{path.rsplit('/', 1)[-1]}: {test.partition('[')[0]}"
