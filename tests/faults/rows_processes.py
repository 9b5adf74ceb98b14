"""F01 to F11: processes that are killed, frozen, doubled."""

import time

from tests.faults.row import Run, row
from tests.stack import wait_for

PREFORK = ("-P", "prefork", "-c", "2")


def _at_failpoint(run: Run, name: str, point: str, when: str, times: int, skip: int = 0, seconds: float = 40.0) -> None:
    """The process dies `times` times at the point, each death proven by the marker, and is started again."""
    world = run.world
    marker = world.stack.marker(name)
    # First its end: one that runs with an older failpoint would begin to count again.
    world.end(name)
    marker.unlink(missing_ok=True)
    world.start(name, failpoint=(point, when, skip), FAILPOINT_TIMES=str(times))

    def reached() -> bool:
        if world.in_flight() < 100:
            world.burst(100)
        return marker.exists() and marker.read_text().count("\n") >= times

    wait_for(reached, seconds, f"{point} was reached {times} times")
    if name != "web":
        # Gunicorn's parent replaces a dead child itself.
        wait_for(lambda: len(world.stack.processes[name].deaths) >= times, 10, f"{name} died {times} times")
    run.note(kills=run.notes.get("kills", 0) + times)


@row("F01", "Relay killed after its claim was committed", recovery=45)
def relay_after_claim(run):
    _at_failpoint(run, "relay", "outbox.relay:claim", "after", 3)


@row("F02", "Relay killed between publish and mark", recovery=45, quick=True)
def relay_after_confirm(run):
    _at_failpoint(run, "relay", "outbox.relay:_settle", "before", 3)


@row("F03", "Relay killed in the middle of a batch", recovery=45)
def relay_mid_batch(run):
    _at_failpoint(run, "relay", "outbox.amqp:AmqpPublisher._write", "after", 3, skip=1)


@row("F04", "Relay frozen past its lease, then thawed", recovery=45)
def relay_frozen(run):
    world = run.world
    for _ in range(2):
        world.burst(250)
        world.freeze("relay")
        time.sleep(9)  # the lease is 6 s
        world.thaw("relay")
        time.sleep(run.random.uniform(0.5, 2))


@row("F05", "Four relays at once", recovery=45)
def four_relays(run):
    world = run.world
    for number in range(3):
        world.stack.start(f"relay{number}", ["manage.py", "relay"], supervised=True)
    for _ in range(6):
        world.burst(250)
        time.sleep(1)
    world.drain()
    found = world.evidence()
    copies = len(found.wire) - len({message[0] for message in found.wire})
    resent = world.stack.sql("SELECT coalesce(sum(resends), 0) FROM transactions_transaction")[0][0]
    run.note(resent_as_overdue=int(resent))
    run.check(copies <= resent, f"{copies} copies on the wire without a fault")
    names = world.stack.sql("SELECT count(DISTINCT claimed_by) FROM outbox_outboxmessage WHERE claimed_by <> ''")
    run.note(relays=names[0][0])
    run.check(names[0][0] >= 4, "fewer than four relays took part")


@row(
    "F06", "Worker child killed while applying: before and after the commit, before the ack", pool=PREFORK, recovery=30
)
def worker_child(run):
    for point, when, skip in (
        ("webhooks.services:apply_together", "before", 1),
        ("webhooks.inbox:settle", "after", 1),
        ("webhooks.services:_apply_group", "after", 0),
    ):
        world = run.world
        world.stack.marker("worker").unlink(missing_ok=True)
        world.restart("worker", failpoint=(point, when, skip), FAILPOINT_TIMES="2")
        world.burst(100)
        marker = world.stack.marker("worker")
        wait_for(lambda: marker.exists() and marker.read_text().count("\n") >= 2, 40, f"{point} twice")  # noqa: B023
        run.note(kills=run.notes.get("kills", 0) + 2)


@row("F07", "Worker killed as a whole, Producer's and Consumer's", pool=PREFORK, recovery=30)
def worker_master(run):
    for name in ("worker", "consumer-worker") * 2:
        run.world.burst(150)
        time.sleep(run.random.uniform(0.1, 0.5))
        run.world.kill(name)
        time.sleep(2)


@row("F08", "A poisonous message kills the child every time", pool=PREFORK, recovery=60)
def poison(run):
    """One event that kills the Consumer, one result that kills the Producer's worker; both end where one sees them."""
    world, stack = run.world, run.world.stack
    world.restart(
        "consumer-worker",
        failpoint=("processing.handler:handle", "before", 0),
        FAILPOINT_TIMES="1000",
        FAILPOINT_MATCH="poisonous",
    )
    body = {
        "account_number": "1",
        "amount": "6.66",
        "currency": "EUR",
        "direction": "debit",
        "description": "poisonous",
    }
    answer = stack.post("/api/v1/transactions", body, "poison-1")
    assert answer.status_code == 201, answer.text
    world.sacrificed.add(answer.json()["id"])
    dead = "consumer.transactions.v1.dead"
    wait_for(lambda: world.queue_lengths(dead)[dead] >= 1, 120, "the poison is in the dead-letter queue")
    marker = stack.marker("consumer-worker")
    run.note(kills=marker.read_text().count("\n"))
    # No more copies of it: the overdue sweep would ask for ever. An operator cancels the transaction.
    stack.sql("UPDATE transactions_transaction SET check_at = NULL WHERE id = %s", answer.json()["id"])


@row("F09", "Web killed after the commit, before the response", recovery=30, quick=True)
def web_after_commit(run):
    _at_failpoint(run, "web", "transactions.views:respond", "before", 4, skip=2)


@row("F10", "Web killed before the commit", recovery=30)
def web_before_commit(run):
    _at_failpoint(run, "web", "transactions.writing:outbox.insert_values", "after", 4, skip=2)


@row("F11", "Wake-ups lost: the relay's and the worker's", recovery=30, quick=True)
def nudges_lost(run):
    world = run.world
    lost = "outbox.wakeup:Coalescer.poke,Coalescer.take"
    world.restart("web", failpoint=(lost, "instead", 0), FAILPOINT_TIMES="1000000")
    for _ in range(4):
        world.burst(100)
        time.sleep(1)
    run.note(lost_nudges=world.stack.marker("web").read_text().count("\n"))
    run.check(run.notes["lost_nudges"] > 0, "no nudge was lost")
    world.restart("web")
