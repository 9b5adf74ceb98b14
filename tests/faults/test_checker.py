"""The checker must be able to fail: each kind of harm, seeded into a clean run, turns it red."""

import copy

import pytest

from tests.faults.checker import Effect, Event, Evidence, Row, Told, judge, waiting_in


@pytest.fixture
def clean():
    """Two transactions, the second changed once; everything arrived."""
    return Evidence(
        told=[Told("k1", "a", 1, "1.00"), Told("k2", "b", 1, "2.00"), Told("b", "b", 2, "2.00")],
        attempted={"k1": 1, "k2": 1},
        rows={"a": Row("succeeded", 1, "1.0000"), "b": Row("succeeded", 2, "2.0000")},
        effects=[
            Effect("a", "pending", 1),
            Effect("b", "pending", 1),
            Effect("b", "pending", 2, "pending"),
            Effect("a", "succeeded", 1, "pending"),
            Effect("b", "succeeded", 2, "pending"),
        ],
        events={
            "e1": Event("a", 1, "published", "broker"),
            "e2": Event("b", 1, "published", "broker"),
            "e3": Event("b", 2, "published", "webhook"),
        },
        applied=[("a", "r1"), ("b", "r2")],
        wire=[("e1", "a", 1), ("e2", "b", 1)],
        consumed={"e1", "e2", "e3"},
        decided=[("a", 1, "transaction.succeeded"), ("b", 2, "transaction.succeeded")],
        queues={"consumer.transactions.v1": 0, "consumer.transactions.v1.dead": 0},
    )


def test_a_clean_run_is_green(clean):
    verdict = judge(clean)
    assert not verdict.bad(), verdict.why
    assert (verdict.sent, verdict.confirmed, verdict.wire_dups) == (2, 2, 0)


def lose_a_row(run):
    del run.rows["a"]


def lose_an_event(run):
    del run.events["e3"]


def lose_a_message(run):
    run.wire = [message for message in run.wire if message[0] != "e1"]
    run.consumed.discard("e1")


def lose_a_version(run):
    run.told.append(Told("a", "a", 2, "1.00"))


def change_an_amount(run):
    run.rows["a"] = Row("succeeded", 1, "1.0100")


def forget_a_cancellation(run):
    run.told_canceled.add("a")


def make_a_phantom(run):
    run.wire.append(("e9", "z", 1))


def commit_an_event_alone(run):
    run.events["e4"] = Event("a", 2, "published", "broker")
    run.consumed.add("e4")


def apply_twice(run):
    run.applied.append(("a", "r3"))


def end_twice(run):
    run.effects.append(Effect("a", "failed", 1, "succeeded"))


def decide_twice(run):
    run.decided.append(run.decided[0])


def create_twice(run):
    run.told.append(Told("k1", "c", 1, "1.00"))
    run.rows["c"] = Row("succeeded", 1, "1.0000")


def overtake_on_the_wire(run):
    run.wire = [("e1", "a", 1), ("e3", "b", 2), ("e2", "b", 1)]


def go_back_a_version(run):
    run.effects.append(Effect("b", "succeeded", 1, "succeeded"))


def reopen(run):
    run.effects.append(Effect("a", "pending", 1, "succeeded"))


def leave_a_transaction(run):
    run.rows["a"] = Row("pending", 1, "1.0000")


def leave_an_event(run):
    run.events["e1"] = Event("a", 1, "pending", "", True)


def leave_a_result(run):
    run.inbox_waiting = 1


def bury_a_result(run):
    run.inbox_dead = 1


def leave_a_message(run):
    run.queues["consumer.transactions.v1"] = 1


def bury_a_message(run):
    run.queues["consumer.transactions.v1.dead"] = 1


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (lose_a_row, "lost"),
        (lose_an_event, "lost"),
        (lose_a_message, "lost"),
        (lose_a_version, "lost"),
        (change_an_amount, "lost"),
        (forget_a_cancellation, "lost"),
        (make_a_phantom, "phantom"),
        (commit_an_event_alone, "phantom"),
        (apply_twice, "double"),
        (end_twice, "double"),
        (decide_twice, "double"),
        (create_twice, "double"),
        (overtake_on_the_wire, "out_of_order"),
        (go_back_a_version, "out_of_order"),
        (reopen, "out_of_order"),
        (leave_a_transaction, "stuck"),
        (leave_an_event, "stuck"),
        (leave_a_result, "stuck"),
        (bury_a_result, "stuck"),
        (leave_a_message, "stuck"),
        (bury_a_message, "stuck"),
    ],
)
def test_each_harm_turns_the_run_red(clean, harm, kind):
    run = copy.deepcopy(clean)
    harm(run)
    verdict = judge(run)
    assert verdict.bad()
    assert getattr(verdict, kind) >= 1, verdict.why
    assert verdict.why[kind], "it says why"


def test_a_copy_on_the_wire_is_counted_and_is_no_harm(clean):
    clean.wire.append(clean.wire[0])
    verdict = judge(clean)
    assert verdict.wire_dups == 1 and not verdict.bad()
    # The third event went by webhook; now the broker had it as well.
    clean.wire.append(("e3", "b", 2))
    verdict = judge(clean)
    assert verdict.wire_dups == 2 and not verdict.bad()


def test_what_waits_in_the_middle_of_faults_is_not_stuck_yet(clean):
    leave_a_transaction(clean)
    assert judge(clean).stuck == 1
    assert judge(clean, drained=False).stuck == 0


def test_what_is_sacrificed_may_end_in_a_dead_letter_and_nothing_else_may(clean):
    leave_a_transaction(clean)
    bury_a_message(clean)
    clean.sacrificed = {"a"}
    assert not judge(clean).bad()
    clean.queues["consumer.transactions.v1.dead"] = 2
    assert judge(clean).stuck == 1


def test_a_run_is_judged_only_when_no_queue_holds_what_the_checker_would_call_stuck():
    queues = {"consumer.transactions.v1.dead": 1, "producer.results.v1": 1, "producer.tasks.v1": 5}
    assert waiting_in(queues, sacrificed=1) == {"producer.results.v1": 1}
