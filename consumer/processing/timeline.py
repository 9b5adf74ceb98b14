"""One transaction's way as a person reads it: what the Producer's history says and what we did, by time. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from processing.models import Event, Result

PRODUCER, CONSUMER = "Producer", "Consumer"
GOOD, BAD, WAITING, PLAIN = "good", "bad", "waiting", "plain"
_WAYS = {"broker": "by the broker", "webhook": "by webhook", "queue": "by the queue"}
_ASK_OPERATOR = "An operator can send it again in the Producer's admin."


@dataclass(frozen=True)
class Entry:
    """One step. `tone` is good, bad, waiting or plain; `side` says whose clock `at` is."""

    at: str
    side: str
    title: str
    detail: str = ""
    tone: str = PLAIN


def build(history: Iterable[Any], events: Iterable[Event], results: Iterable[Result]) -> list[Entry]:
    """Oldest first. What the Producer may add to its history one day, and we do not know, is left out."""
    sent = list(results)
    entries = [_of_producer(item) for item in sorted(filter(_is_object, history), key=_is_outcome)]
    entries += [entry for event in events for entry in _of_event(event, sent)]
    entries += [_of_result(result) for result in sent]
    timed = [(moment, entry) for entry in entries if entry and (moment := _moment(entry.at))]
    return [entry for _, entry in sorted(timed, key=lambda item: item[0])]


def _is_object(item: Any) -> bool:
    return isinstance(item, dict)


def _is_outcome(item: Mapping[str, Any]) -> bool:
    """A result and the status that it brings have one time; the cause is told first."""
    return item.get("kind") == "change" and item.get("by") == "consumer"


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _of_producer(item: Mapping[str, Any]) -> Entry | None:
    read = {"change": _change, "event": _sending, "result": _judgement}.get(str(item.get("kind")))
    return read(item) if read else None


def _change(item: Mapping[str, Any]) -> Entry:
    at, status, by, version = str(item.get("at")), str(item.get("status")), item.get("by"), item.get("version")
    if by == "consumer":
        tone = {"succeeded": GOOD, "failed": BAD}.get(status, WAITING)
        return Entry(at, PRODUCER, f"The transaction is {status}", tone=tone)
    if status == "canceled":
        return Entry(at, PRODUCER, f"Canceled by the {by}", f"version {version}")
    title = "Submitted" if version == 1 else f"Changed by the {by}"
    return Entry(at, PRODUCER, title, f"version {version}; stored together with its event")


def _sending(item: Mapping[str, Any]) -> Entry:
    state, attempts, name = item.get("state"), item.get("attempts"), str(item.get("type"))
    tries = f"{attempts} attempt" + ("" if attempts == 1 else "s")
    if state == "published":
        way = _WAYS.get(str(item.get("channel")), "")
        return Entry(
            str(item.get("delivered_at")), PRODUCER, "Delivery to the Consumer confirmed", f"{name} {way}, {tries}"
        )
    at = str(item.get("at"))
    if state == "dead":
        return Entry(at, PRODUCER, "Not sent: given up", f"{name}, {tries}. {_ASK_OPERATOR}", BAD)
    return Entry(at, PRODUCER, "Waits to be sent", f"{name}, {tries} so far", WAITING)


def _judgement(item: Mapping[str, Any]) -> Entry:
    state, way = str(item.get("state")), _WAYS.get(str(item.get("door")), "")
    title, tone = {
        "applied": ("Result applied", GOOD),
        "noop": ("Result known already", PLAIN),
        "superseded": ("Result for an older version: set aside", PLAIN),
        "conflict": ("Result contradicts what is settled: not applied", BAD),
    }.get(state, (f"Result {state}", WAITING))
    return Entry(str(item.get("at")), PRODUCER, title, f"{item.get('webhook_id')}, came {way}", tone)


def _of_event(event: Event, results: Iterable[Result]) -> list[Entry]:
    arrived = f"{event.type or 'an event'} {_WAYS[event.door]}"
    if event.deliveries > 1:
        arrived += f", {event.deliveries} times; worked on once"
    received = Entry(event.received_at.isoformat(), CONSUMER, "Received", arrived)
    at = (event.processed_at or event.received_at).isoformat()
    decisions = ", ".join(result.type.rpartition(".")[2] for result in results if result.event_id == event.pk)
    outcome = {
        Event.State.RECEIVED: Entry(at, CONSUMER, "Waits for the checks", tone=WAITING),
        Event.State.DECIDED: Entry(at, CONSUMER, f"Checked: {decisions}"),
        Event.State.RECORDED: Entry(at, CONSUMER, "Cancellation noted"),
        Event.State.STALE: Entry(at, CONSUMER, "Set aside", event.reason),
        Event.State.QUARANTINED: Entry(at, CONSUMER, "Not understood: kept for a person", event.reason, BAD),
    }[Event.State(event.state)]
    return [received, outcome]


def _of_result(result: Result) -> Entry:
    name = f"{result.type}, {result.webhook_id}"
    at = (result.delivered_at or result.created_at).isoformat()
    if result.state == Result.State.DELIVERED:
        return Entry(at, CONSUMER, "Result accepted by the Producer", f"{name} {_WAYS.get(result.door, '')}".rstrip())
    if result.state == Result.State.SUPERSEDED:
        return Entry(at, CONSUMER, "Result dropped: a newer version came", name)
    why = f"{name}; last answer: {result.last_error or 'none yet'}"
    if result.state == Result.State.DEAD:
        return Entry(at, CONSUMER, "Result not sent: given up", f"{why}. Send it again in the Consumer's admin.", BAD)
    return Entry(at, CONSUMER, "Result waits for the Producer", why, WAITING)
