"""Puts a bug of tests/mutants into the modules of this process, for as long as a block runs."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from tests.mutants.catalogue import MUTANTS, Mutant


def named(name: str) -> Mutant:
    """The mutant of that name."""
    return next(mutant for mutant in MUTANTS if mutant.name == name)


@contextmanager
def seeded(mutant: Mutant) -> Iterator[None]:
    """Runs the edited source in the modules' own names, and gives its functions and classes to whoever imported them."""
    before = {path: dict(vars(_module(path))) for path in {edit.path for edit in mutant.edits}}
    try:
        for path, names in before.items():
            text = Path(str(_module(path).__file__)).read_text()
            for edit in mutant.edits:
                if edit.path == path:
                    assert text.count(edit.old) == 1, f"{mutant.name} no longer fits {path}"
                    text = text.replace(edit.old, edit.new)
            exec(compile(text, path, "exec"), vars(_module(path)))
            _hand_on(names, vars(_module(path)))
        yield
    finally:
        for path, names in before.items():
            module = vars(_module(path))
            _hand_on(module, names)
            module.clear()
            module.update(names)


def _module(path: str) -> ModuleType:
    return importlib.import_module(path.removesuffix(".py").replace("/", "."))


def _hand_on(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Whoever has one of the old functions or classes by name gets the new one."""
    changed = {
        id(value): new[name]
        for name, value in old.items()
        if isinstance(value, FunctionType | type) and new.get(name, value) is not value
    }
    for module in list(sys.modules.values()):
        if module is not None and module.__name__.partition(".")[0] in {"outbox", "webhooks", "transactions", "tests"}:
            for name, value in list(vars(module).items()):
                if id(value) in changed:
                    setattr(module, name, changed[id(value)])
