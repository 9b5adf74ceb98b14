"""No log line uses a name that logging keeps for itself: that raises KeyError where nobody expects an exception."""

import ast
import logging
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("producer", "scheduler", "webhooks", "transactions", "outbox", "consumer/processing", "consumer/reference")
KEPT = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime"}


def extras(source: str) -> set[str]:
    """The names in every `extra={…}` of the source, in nested and merged literals too."""
    return {
        key.value
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.keyword) and call.arg == "extra"
        for part in ast.walk(call.value)
        if isinstance(part, ast.Dict)
        for key in part.keys
        if isinstance(key, ast.Constant)
    }


@pytest.mark.parametrize("path", [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))], ids=str)
def test_no_log_line_overwrites_what_logging_keeps(path):
    assert not extras(path.read_text()) & KEPT


def test_the_search_finds_what_it_looks_for():
    found = extras("log.warning('x', extra={'process': 1, **{'name': 2}})")
    assert found & KEPT == {"process", "name"}
    with pytest.raises(KeyError):
        logging.getLogger("names").error("x", extra={"process": 1})
