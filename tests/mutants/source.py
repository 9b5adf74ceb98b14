"""A copy of the checkout, into which bugs are put and from which they are taken out again. The checkout is never touched."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.mutants.catalogue import Mutant


class CannotSeedError(Exception):
    """The code has moved on and the bug no longer fits: it would prove nothing."""


class Copy:
    """What git knows or would know of the checkout, as it is on disk now; or one of its commits."""

    def __init__(self, checkout: Path, root: Path, revision: str = "") -> None:
        self.root = root
        if revision:
            archive = ["git", "archive", "--format=tar", revision]
            packed = subprocess.run(archive, cwd=checkout, capture_output=True, check=True).stdout
            subprocess.run(["tar", "-x"], cwd=root, input=packed, check=True)
            return
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=checkout, capture_output=True, text=True, check=True).stdout
        for name in filter(None, names.split("\0")):
            source, target = checkout / name, root / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    def check(self, mutant: Mutant) -> None:
        """Raises CannotSeedError unless every edit fits; before the first test, so that nobody waits an hour for it."""
        self._edited(mutant)

    @contextlib.contextmanager
    def seeded(self, mutant: Mutant) -> Iterator[None]:
        """The bug is in the copy for the length of the block."""
        edited = self._edited(mutant)
        before = {path: path.read_text() for path in edited}
        try:
            for path, text in edited.items():
                path.write_text(text)
            yield
        finally:
            for path, text in before.items():
                path.write_text(text)

    def _edited(self, mutant: Mutant) -> dict[Path, str]:
        edited: dict[Path, str] = {}
        for edit in mutant.edits:
            path = self.root / edit.path
            text = edited[path] if path in edited else (path.read_text() if path.is_file() else "")
            found = text.count(edit.old)
            if found != 1:
                raise CannotSeedError(
                    f"Mutant {mutant.name}: its anchor stands {found} times in {edit.path}, not once. "
                    f"Give it another in tests/mutants/catalogue.py:\n{edit.old}"
                )
            edited[path] = text.replace(edit.old, edit.new)
        for path, text in edited.items():
            compile(text, str(path), "exec")
        return edited
