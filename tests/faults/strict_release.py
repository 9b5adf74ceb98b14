"""Test-side launcher: a release whose schema of results is too strict by mistake, then the process as given.

    python strict_release.py LIMIT script-or-module arguments...

The product holds no code for this: only the limit of `processed_data` is another, in bytes.
"""

import importlib.abc
import importlib.util
import os
import runpy
import sys


class _Finder(importlib.abc.MetaPathFinder):
    """Changes the constant as soon as its module has been executed by whoever imports it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def find_spec(self, name, path=None, target=None):
        if name != "webhooks.results":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_and_change(module):
            run(module)
            assert self.limit < module.MAX_PROCESSED_DATA_BYTES
            module.MAX_PROCESSED_DATA_BYTES = self.limit

        spec.loader.exec_module = exec_and_change
        return spec


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    sys.meta_path.insert(0, _Finder(int(sys.argv[1])))
    if sys.argv[2] == "-m":
        sys.argv = sys.argv[3:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = sys.argv[2:]
        runpy.run_path(sys.argv[0], run_name="__main__")
