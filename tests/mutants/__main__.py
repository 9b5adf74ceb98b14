"""`make mutants`: each seeded bug in a copy of the checkout, and which test notices; one that none notices fails the run.

python -m tests.mutants [ONLY=name,name and SKIP_BASELINE=1 as environment]; the rows go into docs/reliability.md.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.run import CannotAskError, Report, run_tests
from tests.mutants.source import CannotSeedError, Copy
from tests.mutants.table import Row, line_of, write

ROOT = Path(__file__).resolve().parents[2]
BASELINE = "(no bug)"
ALL, QUICK, SLOW = "not long", "not processes and not long", "processes and not long"


def chosen(only: str) -> list[Mutant]:
    """All of them, or those whose name holds one of the words in ONLY."""
    words = [word for word in only.replace(",", " ").split() if word]
    found = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    if not found:
        raise SystemExit(f"ONLY={only} names no mutant. There are: {', '.join(mutant.name for mutant in MUTANTS)}")
    return found


def marks(folder: str, wanted: str) -> str:
    """The Consumer's tests are all quick and know no marks."""
    return wanted if folder == "." else ""


def baseline(copy: Copy, mutants: list[Mutant]) -> bool:
    """Everything that the mutants are held against, without a bug: red tests would prove nothing."""
    green = True
    for folder in sorted({mutant.folder for mutant in mutants}):
        paths = {path for mutant in mutants if mutant.folder == folder for path in (*mutant.tests, *mutant.slow)}
        report = run_tests(copy.root / folder, sorted(paths), marks(folder, ALL), seconds=3600, stop_after=0)
        print(line_of(Row(f"{BASELINE} {folder}", "", report)), flush=True)
        if not report.green:
            green = False
            print(report.output[-4000:], file=sys.stderr)
    return green


def try_one(copy: Copy, mutant: Mutant) -> Report:
    """The quick tests first; those with processes of their own only for a bug that the quick ones let through."""
    folder = copy.root / mutant.folder
    with copy.seeded(mutant):
        report = run_tests(folder, mutant.tests, marks(mutant.folder, QUICK), seconds=600, stop_after=2)
        if report.green and marks(mutant.folder, SLOW):
            report += run_tests(folder, (*mutant.tests, *mutant.slow), SLOW, seconds=900, stop_after=1)
    return report


def main() -> int:
    """Prints a line a mutant as it goes; 0 only if the baseline is green and every mutant was caught."""
    mutants, started = chosen(os.environ.get("ONLY", "")), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(ROOT, Path(folder), os.environ.get("REVISION", ""))
        for mutant in mutants:
            copy.check(mutant)
        if not os.environ.get("SKIP_BASELINE") and not baseline(copy, mutants):
            print("The tests are red without any bug; nothing was proven.", file=sys.stderr)
            return 1
        rows = []
        for mutant in mutants:
            rows.append(Row(mutant.name, mutant.harm, try_one(copy, mutant)))
            print(line_of(rows[-1]), flush=True)
    survivors = [row.name for row in rows if row.report.green]
    write(ROOT / "docs" / "reliability.md", rows, [mutant.name for mutant in MUTANTS])
    print(f"{len(rows) - len(survivors)} of {len(rows)} caught in {(time.monotonic() - started) / 60:.0f} minutes")
    if survivors:
        print(f"Survived, so a test is missing: {', '.join(survivors)}", file=sys.stderr)
    return 1 if survivors else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CannotSeedError, CannotAskError) as error:
        sys.exit(str(error))
