"""The seeded bugs still fit the code: whoever moves an anchor learns it at once, and not in the next run of an hour."""

from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_bug_still_fits(mutant):
    for edit in mutant.edits:
        found = (ROOT / edit.path).read_text().count(edit.old)
        assert found == 1, (
            f"{found} times in {edit.path}; give {mutant.name} another anchor in tests/mutants/catalogue.py"
        )


def test_no_two_bugs_have_one_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 23
