"""The names in log lines: none that logging keeps for itself, which raises KeyError where nobody expects an exception; and what
a line is given is in it."""

import ast
import json
import logging
import uuid
from pathlib import Path

import pytest
from django.core.management import call_command

from producer.logs import CONTEXT, log_configuration

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


def logged(source: str) -> set[str]:
    """As `extras`, of calls to loggers alone, and with the dictionaries that a function names first."""
    found: set[str] = set()
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        given = [
            keyword.value
            for call in calls
            if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
            if call.func.value.id in {"log", "audit", "audit_log"}
            for keyword in call.keywords
            if keyword.arg == "extra"
        ]
        found |= set().union(*(extras(f"f(extra={ast.unparse(value)})") for value in given))
        named = {name.id for value in given for name in ast.walk(value) if isinstance(name, ast.Name)}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in named:
                found |= extras(f"f(extra={ast.unparse(node.value)})")
    return found


@pytest.mark.parametrize("path", [path for room in ROOMS[:5] for path in sorted((ROOT / room).rglob("*.py"))], ids=str)
def test_what_a_line_of_the_producer_is_given_is_in_it(path):
    assert not logged(path.read_text()) - {*CONTEXT}


def test_what_somebody_changed_by_hand_is_in_the_log_with_who_and_why(db, caplog):
    event_id = str(uuid.uuid4())
    with caplog.at_level("WARNING", logger="outbox.audit"):
        call_command("outbox", "requeue", event_id, "--reason", "the queue is back")
    options = dict(log_configuration("INFO", as_json=True)["formatters"]["lines"])
    line = json.loads(options.pop("()")(**options).format(caplog.records[-1]))
    assert (line["verb"], line["reason"], line["changed"]) == ("requeue", "the queue is back", 0)
    assert line["event_ids"] == [event_id] and line["by"]


def test_the_search_finds_what_it_looks_for():
    found = extras("log.warning('x', extra={'process': 1, **{'name': 2}})")
    assert found & KEPT == {"process", "name"}
    assert logged(
        "def f():\n    who = {'by': 1}\n    audit.info('x', extra={**who, 'verb': 2})\n    a(extra={'b': 3})"
    ) == {
        "by",
        "verb",
    }
    with pytest.raises(KeyError):
        logging.getLogger("names").error("x", extra={"process": 1})
