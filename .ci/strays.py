"""Prints the installed packages that a requirements file does not name, one a line; .ci/venv removes them."""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

# Not ours to remove: the installer itself, and the tool of `make lock`.
KEPT = {"pip", "setuptools", "wheel", "uv"}


def normal(name: str) -> str:
    """Names compare like this (PEP 503): Foo.Bar, foo_bar and foo-bar are one package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(path: Path) -> None:
    named = {normal(name) for name in re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==", path.read_text(), re.MULTILINE)}
    installed = {normal(distribution.metadata["Name"]) for distribution in distributions()}
    print(*sorted(installed - named - KEPT), sep="\n", end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
