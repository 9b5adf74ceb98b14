"""manage.py relay, outbox and declare_topology."""

import json
import os
import signal
import uuid
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from outbox import prune, services, topology
from outbox.management.commands import outbox, relay
from outbox.models import ChannelState, OutboxMessage, ProcessState
from outbox.publisher import Outcome, PublishError, Refusal
from outbox.relay import Counts


def run(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_relay_once_makes_one_pass_and_prints_its_counts(fake, add, look):
    event_id = add()
    assert "claimed=1 published=1" in run("relay", "--once")
    assert look(event_id).state == "published"


def test_relay_once_takes_a_batch_size(fake, add):
    add("a")
    add("b")
    assert "claimed=1 " in run("relay", "--once", "--batch", "1")


@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_batch_of_nothing_is_refused(db, number):
    with pytest.raises(CommandError, match="1 or more"):
        run("relay", "--once", "--batch", number)


def test_relay_once_fails_when_no_channel_works(fake, add):
    add()
    fake.answer = lambda events: Outcome(trouble=PublishError("away"))
    for _ in range(2):
        with pytest.raises(SystemExit) as stopped:
            run("relay", "--once")
        assert stopped.value.code == 1


def test_relay_once_succeeds_when_an_event_was_handed_back_because_an_earlier_one_of_its_key_was_refused(
    fake, add, look
):
    """The channel works; the refused event is tried again later, and what is behind it after it."""
    first, second = add("a", 1), add("a", 2)
    fake.answer = lambda events: Outcome(confirmed={second}, refused={first: Refusal("HTTP 422")})
    assert "retried=1 dead=0 released=1" in run("relay", "--once")
    assert (look(first).attempts, look(second).attempts) == (1, 0)


@pytest.fixture
def standing(db, monkeypatch):
    """Runs the standing relay until its first pass does what is asked."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)}
    monkeypatch.setattr(relay, "Listener", lambda: SimpleNamespace(wait=lambda seconds: None, close=lambda: None))
    monkeypatch.setattr(relay, "publishers", lambda: ())
    monkeypatch.setattr(relay, "connection", SimpleNamespace(close=lambda: None))
    ProcessState.objects.create(name="relay@killed:1", kind="relay", seen_at=Now() - timedelta(hours=2))

    def standing(first_pass):
        monkeypatch.setattr(relay, "run_once", lambda **_: first_pass() or Counts())
        return run("relay")

    yield standing
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_relay_that_is_told_to_stop_is_not_missed(standing, number):
    assert "stopped" in standing(lambda: os.kill(os.getpid(), number))
    assert not ProcessState.objects.exists()


def test_a_relay_that_dies_is_missed(standing):
    beats = []

    def second_pass_dies():
        beats.append(ProcessState.objects.count())
        if len(beats) > 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        standing(second_pass_dies)
    assert beats == [1, 2] and ProcessState.objects.count() == 2


def test_stats_is_json_with_the_channels(add):
    add()
    ChannelState.objects.create(name="broker", failing_since=Now(), reason="alarm")
    stats = json.loads(run("outbox", "stats"))
    assert (stats["pending"], stats["dead"], stats["channels"][0]["name"]) == (1, 0, "broker")


def test_requeue_takes_ids_or_all_dead_and_is_safe_to_run_twice(add, look):
    first, second = add("a", state="dead"), add("b", state="dead")
    assert "1 of 1" in run("outbox", "requeue", str(first), "--reason", "fixed")
    assert "0 of 1" in run("outbox", "requeue", str(first), "--reason", "fixed")
    assert "1 of 1" in run("outbox", "requeue", "--all-dead", "--reason", "fixed")
    assert {look(first).state, look(second).state} == {"pending"}


def test_requeue_of_all_dead_leaves_discarded_events_alone_and_their_id_brings_one_back(add, look):
    dead, fraud = add("a", state="dead", error="NO_ROUTE"), add("b")
    run("outbox", "discard", str(fraud), "--reason", "fraud: never send")
    assert "1 of 1" in run("outbox", "requeue", "--all-dead", "--reason", "broker mended")
    assert look(dead).state == "pending"
    assert (look(fraud).state, look(fraud).discarded, look(fraud).error) == ("dead", True, "fraud: never send")
    assert "1 of 1" in run("outbox", "requeue", str(fraud), "--reason", "it was none")
    assert (look(fraud).state, look(fraud).discarded) == ("pending", False)


@pytest.mark.parametrize("named", [True, False])
def test_many_are_requeued_in_batches_and_what_is_done_stays_done(add, monkeypatch, caplog, named):
    monkeypatch.setattr(outbox, "BATCH", 2)
    ids = [add(f"k{number}", state="dead") for number in range(5)]
    wanted = [str(event_id) for event_id in ids] if named else ["--all-dead"]
    requeue = services.requeue
    monkeypatch.setattr(services, "requeue", lambda some: requeue(some) if len(some) == 2 else 1 / 0)
    with caplog.at_level("WARNING", logger="outbox.audit"), pytest.raises(ZeroDivisionError):
        run("outbox", "requeue", *wanted, "--reason", "mended")
    assert [record.event_ids for record in caplog.records] == [[*map(str, ids[:2])], [*map(str, ids[2:4])]]
    assert list(OutboxMessage.objects.filter(state="dead").values_list("id", flat=True)) == ids[4:]


def test_what_is_discarded_while_others_are_requeued_stays_so(add, look, monkeypatch):
    monkeypatch.setattr(outbox, "BATCH", 1)
    first, second = sorted(add(key, state="dead") for key in "ab")
    requeue = services.requeue

    def and_somebody_discards(some):
        services.discard([second], "fraud")
        return requeue(some)

    monkeypatch.setattr(services, "requeue", and_somebody_discards)
    monkeypatch.setattr(outbox, "_given_up", lambda given_up=outbox._given_up: given_up().order_by("id"))
    assert "1 of 2" in run("outbox", "requeue", "--all-dead", "--reason", "mended")
    assert (look(first).state, look(second).error) == ("pending", "fraud")


def test_many_at_once_tell_how_far_it_is(add, monkeypatch):
    monkeypatch.setattr(outbox, "BATCH", 2)
    for number in range(5):
        add(f"k{number}", state="dead")
    told = run("outbox", "requeue", "--all-dead", "--reason", "mended").splitlines()
    assert told == ["2 of 5 done", "4 of 5 done", "5 of 5 done", "requeue: 5 of 5 events changed"]


def test_discard_keeps_the_reason(add, look):
    event_id = add()
    assert "1 of 1" in run("outbox", "discard", str(event_id), "--reason", "wrong account")
    assert (look(event_id).state, look(event_id).error) == ("dead", "wrong account")


def test_a_verb_is_written_to_the_audit_log_with_its_reason(add, caplog):
    event_id = add(state="dead")
    with caplog.at_level("INFO", logger="outbox.audit"):
        run("outbox", "requeue", str(event_id), "--reason", "broker fixed")
    (record,) = [record for record in caplog.records if record.name == "outbox.audit"]
    assert (record.verb, record.reason, record.event_ids) == ("requeue", "broker fixed", [str(event_id)])


@pytest.mark.parametrize(
    "arguments",
    [
        ["requeue", "--reason", "x"],
        ["requeue", "not-a-uuid", "--reason", "x"],
        ["requeue", str(uuid.UUID(int=1)), "--all-dead", "--reason", "x"],
        ["discard", str(uuid.UUID(int=1))],
        [],
    ],
)
def test_what_makes_no_sense_is_refused(db, arguments):
    with pytest.raises(CommandError):
        run("outbox", *arguments)


def test_prune_goes_on_until_nothing_is_past_its_retention(add, look, monkeypatch):
    monkeypatch.setattr(prune, "BATCH", 1)
    kept = add()
    for _ in range(3):
        add(state="published", published_at=Now() - timedelta(days=99))
    assert run("outbox", "prune") == "prune: 3 gone\n"
    assert list(OutboxMessage.objects.values_list("id", flat=True)) == [kept]


@pytest.mark.rabbitmq
def test_declare_topology_names_what_it_declared(amqp_routes):
    assert f"declared {amqp_routes['transactions']['queue']}\n" in run("declare_topology")


def test_declare_topology_fails_with_the_brokers_words(monkeypatch):
    def away(*args):
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(topology, "connect", away)
    with pytest.raises(CommandError, match="nobody listens"):
        run("declare_topology")
