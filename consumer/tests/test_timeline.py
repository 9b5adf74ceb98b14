"""What a person reads of one transaction's way."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from processing import timeline
from processing.models import Event, Result

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def change(seconds: float, **members: Any) -> dict[str, Any]:
    told = {"kind": "change", "at": at(seconds).isoformat(), "version": 1, "status": "pending", "by": "client"}
    return {**told, **members}


def sending(seconds: float, **members: Any) -> dict[str, Any]:
    told = {"kind": "event", "at": at(seconds).isoformat(), "type": "transaction.created", "attempts": 1}
    return {**told, "state": "published", "channel": "broker", "delivered_at": at(seconds + 1).isoformat(), **members}


def judged(seconds: float, state: str) -> dict[str, Any]:
    return {"kind": "result", "at": at(seconds).isoformat(), "webhook_id": "res_1", "state": state, "door": "webhook"}


def event(**members: Any) -> Event:
    told = {"pk": 1, "type": "transaction.created", "door": "broker", "state": "decided", "deliveries": 1}
    return Event(**{**told, "received_at": at(2), "processed_at": at(2), **members})


def result(**members: Any) -> Result:
    told = {"event_id": 1, "type": "transaction.succeeded", "webhook_id": "res_1", "state": "delivered"}
    return Result(**{**told, "door": "webhook", "created_at": at(2), "delivered_at": at(3), **members})


def titles(entries: list[timeline.Entry]) -> list[str]:
    return [entry.title for entry in entries]


def test_a_whole_round_trip_reads_in_order() -> None:
    history = [change(0), sending(0), change(4, status="succeeded", by="consumer"), judged(4, "applied")]
    assert titles(timeline.build(history, [event()], [result()])) == [
        "Submitted",
        "Delivery to the Consumer confirmed",
        "Received",
        "Checked: succeeded",
        "Result accepted by the Producer",
        "Result applied",
        "The transaction is succeeded",
    ]


@pytest.mark.parametrize(
    ("entry", "words", "tone"),
    [
        (sending(0, state="pending", channel=None, delivered_at=None, attempts=3), "Waits to be sent", "waiting"),
        (sending(0, state="dead", channel=None, delivered_at=None), "Not sent: given up", "bad"),
        (judged(0, "conflict"), "contradicts", "bad"),
        (judged(0, "received"), "Result received", "waiting"),
        (change(0, status="canceled", by="operator", version=2), "Canceled by the operator", "plain"),
        (change(0, version=3), "Changed by the client", "plain"),
        (change(0, status="failed", by="consumer"), "is failed", "bad"),
    ],
)
def test_each_step_of_the_producer_has_words_and_a_tone(entry: dict[str, Any], words: str, tone: str) -> None:
    (step,) = timeline.build([entry], [], [])
    assert words in step.title
    assert step.tone == tone


@pytest.mark.parametrize(
    ("members", "words", "tone"),
    [
        ({"state": "pending", "delivered_at": None, "last_error": "HTTP 503"}, "waits for the Producer", "waiting"),
        ({"state": "dead", "delivered_at": None, "last_error": "HTTP 401"}, "given up", "bad"),
        ({"state": "superseded", "delivered_at": None}, "dropped", "plain"),
    ],
)
def test_a_result_that_is_not_delivered_says_why(members: dict[str, Any], words: str, tone: str) -> None:
    (step,) = timeline.build([], [], [result(**members)])
    assert words in step.title
    assert members.get("last_error", "") in step.detail
    assert step.tone == tone


@pytest.mark.parametrize("state", Event.State.values)
def test_every_state_of_an_event_is_told(state: str) -> None:
    received, outcome = timeline.build([], [event(state=state, deliveries=3)], [])
    assert "3 times" in received.detail
    assert outcome.title


@pytest.mark.parametrize(
    "odd", [None, "x", [], {}, {"kind": "news", "at": NOON.isoformat()}, {"kind": "change"}, change(0, at="soon")]
)
def test_what_we_do_not_understand_is_left_out(odd: Any) -> None:
    assert titles(timeline.build([odd, change(1)], [], [])) == ["Submitted"]
