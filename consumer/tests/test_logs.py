"""A line of log is one JSON object, with the names of the work in hand."""

import json
import logging
import sys

from django.db import IntegrityError

from processing import tracing
from reference.logs import JsonLines


def line(message, *arguments):
    return JsonLines().format(logging.LogRecord("consumer.x", logging.INFO, "f", 1, message, arguments, None))


def test_a_line_is_one_json_object_whatever_the_message_holds():
    assert json.loads(line("a %s", 'line\nbreak "quoted"'))["event"] == 'a line\nbreak "quoted"'
    assert "\n" not in line("a\nb")


def test_the_names_stand_beside_the_sentence_while_the_work_lasts():
    with tracing.about(request_id="r", event_id="", webhook_id="w"):
        assert json.loads(line("x")).items() >= {"request_id": "r", "webhook_id": "w", "level": "info"}.items()
        assert "event_id" not in json.loads(line("x"))
    assert "request_id" not in json.loads(line("x"))


def test_without_a_collector_a_span_passes_on_what_it_was_given():
    with tracing.span("x", "client", "00-parent") as mine:
        assert mine == "00-parent"


def test_a_traceback_shows_no_row_of_the_database():
    account = "DE89" + "370400440532013000"
    try:
        try:
            raise IntegrityError(f"DETAIL:  Failing row contains ({account}).")
        except IntegrityError as error:
            raise RuntimeError(f"not decided: {error}") from error
    except RuntimeError:
        record = logging.LogRecord("consumer.x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    text = JsonLines().format(record)
    assert account not in text
    assert "test_logs.py" in text and "RuntimeError" in text


def test_any_other_traceback_is_whole():
    try:
        raise RuntimeError("a defect")
    except RuntimeError:
        record = logging.LogRecord("consumer.x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    assert "RuntimeError: a defect" in json.loads(JsonLines().format(record))["exception"]
