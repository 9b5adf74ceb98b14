"""kill -9 of a relay at each step of a pass: nothing lost, each key in order, at most one batch twice, and none without cause."""

import contextlib
import json
import os
import signal

import psycopg2
import pytest

from outbox.ids import uuid7
from tests.e2e.test_relays import BATCH, all_published, nothing_lost_and_in_order, wire
from tests.stack import wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(180)]

KEYS, EACH = 20, 20
# A batch of them is several writes to the socket (outbox.amqp.WRITE_BYTES), so that there is a middle.
BODY = json.dumps({"pad": "x" * 4000})
FILL = """
    INSERT INTO outbox_outboxmessage
           (id, topic, type, key, sequence, body, state, attempts, parked, claimed_by, error, channel, due_at)
    SELECT id, 'transactions', 'transaction.created', key, sequence, %s, 'pending', %s, false, '', '', '', now()
      FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) AS event(id, key, sequence)
"""


def fill(stack, attempts):
    events = [(f"key-{key}", sequence) for sequence in range(1, EACH + 1) for key in range(KEYS)]
    keys, sequences = zip(*events, strict=True)
    stack.sql(FILL, BODY, attempts, [str(uuid7()) for _ in events], list(keys), list(sequences))


def relay(stack, **options):
    return stack.start("relay", ["manage.py", "relay", "--batch", str(BATCH)], supervised=True, **options)


def drained(stack, seen):
    """Waits until all of it is published and has arrived."""
    wait_for(lambda: all_published(stack), 60, "every event is published")
    wait_for(lambda: len(set(seen)) == KEYS * EACH, 30, "every event arrived")


# An event that was tried before makes the claim a transaction of several statements instead of one call.
@pytest.mark.parametrize(
    ("point", "when", "skip", "match", "attempts", "twice"),
    [
        ("outbox.ordinary:claim", "before", 1, "", 0, (0, 0)),
        ("outbox.claim:_park_out_of_turn", "after", 1, "", 1, (0, 0)),
        ("outbox.relay:claim", "after", 1, "", 0, (0, 0)),
        ("outbox.amqp:AmqpPublisher._write", "after", 5, "", 0, (1, BATCH)),
        # Half a second is what the wait for confirms takes at a time.
        ("outbox.amqp:AmqpPublisher._drain", "before", 0, ", 0.5)", 0, (1, BATCH)),
        ("outbox.relay:settle", "before", 1, "", 0, (BATCH, BATCH)),
        ("outbox.relay:settle", "after", 1, "", 0, (0, 0)),
    ],
    ids=[
        "before the claim",
        "claimed, not committed",
        "claimed",
        "in the midst of the batch",
        "all written, no confirm seen",
        "confirmed, not settled",
        "settled",
    ],
)
def test_a_kill_costs_at_most_what_was_out_and_not_settled(stack, point, when, skip, match, attempts, twice):
    fill(stack, attempts)
    with wire(stack) as seen:
        relay(stack, failpoint=(point, when, skip), FAILPOINT_MATCH=match)
        drained(stack, seen)
    assert stack.marker("relay").read_text().count("\n") == 1, "the point was reached"
    assert stack.processes["relay"].deaths == [-signal.SIGKILL]
    nothing_lost_and_in_order(stack, seen)
    least, most = twice
    assert least <= len(seen) - len(set(seen)) <= most
    assert stack.sql("SELECT max(attempts) FROM outbox_outboxmessage")[0][0] <= attempts + 2


@contextlib.contextmanager
def nothing_can_be_settled(stack):
    """Holds settlements up inside the server: they move rows to the archive, and nothing else goes there."""
    with contextlib.closing(psycopg2.connect(stack.env["DATABASE_URL"])) as database, database.cursor() as cursor:
        cursor.execute("LOCK TABLE outbox_archive IN SHARE MODE")
        yield
        database.rollback()


_SETTLING = """
    SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND query LIKE '%%outbox_settle_v1%%' AND wait_event_type = 'Lock'
"""


@pytest.mark.parametrize("committed", [False, True])
def test_a_kill_within_the_settlement_costs_the_batch_or_nothing_as_the_server_decides(stack, committed):
    fill(stack, 0)
    with wire(stack) as seen:
        with nothing_can_be_settled(stack):
            relay(stack)
            ((backend,),) = wait_for(lambda: stack.sql(_SETTLING), 30, "a settlement is under way")
            os.kill(stack.processes["relay"].child.pid, signal.SIGKILL)
            wait_for(lambda: stack.processes["relay"].deaths, 10, "the relay is dead")
            if not committed:
                stack.sql("SELECT pg_terminate_backend(%s)", backend)
        drained(stack, seen)
    nothing_lost_and_in_order(stack, seen)
    assert len(seen) - len(set(seen)) == (0 if committed else BATCH)
