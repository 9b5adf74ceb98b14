"""Whose work it is: what a message carries is read by its pattern, and one piece of work knows nothing of the last."""

import json
import threading

import pytest
from django.db import transaction

from outbox import context, services
from outbox.models import OutboxMessage

REQUEST = "0d0a7c1e-1111-4222-8333-444455556666"
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def test_names_hold_for_a_while_and_for_one_thread():
    context.start(request_id="r")
    with context.about(event_id="e"):
        assert context.names() == {"request_id": "r", "event_id": "e"}
        seen = []
        thread = threading.Thread(target=lambda: seen.append(dict(context.names())))
        thread.start()
        thread.join()
        assert seen == [{}]
    assert context.names() == {"request_id": "r"}
    context.start(task="t")
    assert context.names() == {"task": "t"}
    context.start()


@pytest.mark.parametrize("spaces", [(",", ":"), (", ", ": ")])
def test_what_a_message_carries_is_found_however_it_is_written(spaces):
    body = json.dumps({"correlationid": REQUEST, "traceparent": TRACE, "data": {}}, separators=spaces).encode()
    assert context.correlation_of(body) == REQUEST and context.traceparent_of(body) == TRACE


@pytest.mark.parametrize(
    "value", ["", "x", REQUEST + "\n", REQUEST[:-1], REQUEST.replace("a", "A"), "' OR 1=1", None, 7]
)
def test_what_is_not_an_id_is_not_taken_for_one(value):
    body = json.dumps({"correlationid": value, "traceparent": value}).encode()
    assert context.correlation_of(body) is None and context.traceparent_of(body) is None


@pytest.mark.parametrize("value", [TRACE.replace("a", "0"), TRACE.replace("b", "0")])
def test_an_id_of_zeros_names_no_trace(value):
    assert context.read_traceparent(value) is None
    assert context.traceparent_of(json.dumps({"traceparent": value}).encode()) is None


@pytest.mark.django_db
def test_an_event_carries_the_id_of_its_request_and_none_where_there_is_none():
    context.start()
    event = {"topic": "transactions", "type": "t", "key": "k", "data": {}}
    with transaction.atomic():
        with context.about(request_id=REQUEST):
            services.enqueue([services.Event(sequence=1, **event)])
        services.enqueue([services.Event(sequence=2, **event)])
    first, second = (json.loads(row.body) for row in OutboxMessage.objects.order_by("sequence"))
    assert first["correlationid"] == REQUEST and "correlationid" not in second
