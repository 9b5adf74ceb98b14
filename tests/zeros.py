"""Lost, applied twice, out of order, stuck: none of it, after a test that took servers or hosts away under load."""

import json
import sqlite3
import time

from tests.stack import wait_for

UNSETTLED = "SELECT count(*) FROM transactions_transaction WHERE status NOT IN ('succeeded', 'failed', 'canceled')"
UNSENT = "SELECT count(*) FROM outbox_outboxmessage WHERE state <> 'published'"
TWICE = """
    SELECT transaction_id FROM transactions_historyentry WHERE kind = 'result' AND state = 'applied'
     GROUP BY transaction_id HAVING count(*) > 1
"""

NEWEST = "SELECT max(created_at) FROM transactions_transaction WHERE status IN ('succeeded', 'failed')"


class Recovery:
    """How long after each fault a transaction submitted after it has its result."""

    def __init__(self, stack):
        self.stack, self.seconds = stack, {}

    def of(self, what, fault, within):
        began = time.monotonic()
        (now,) = self.stack.sql("SELECT now()")[0]
        fault()
        wait_for(lambda: (self.stack.sql(NEWEST)[0][0] or now) > now, within, f"results again after: {what}")
        self.seconds[what] = round(time.monotonic() - began, 1)


def answers(load):
    """What clients were told so far; a line that is being written is left for later."""
    lines = load.log_path.read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    return [entry for entry in entries if "status" in entry]


def overtaken(stack):
    """Transactions of which a version reached the Consumer after a later one."""
    with sqlite3.connect(f"file:{stack.folder / 'consumer.sqlite3'}?mode=ro", uri=True, timeout=20) as consumer:
        return {row[0] for row in consumer.execute("SELECT transaction_id FROM consumer_event WHERE state = 'stale'")}


def check(stack, load, within):
    """Ends the load, waits until all has come to rest, at most `within` seconds; returns figures to print."""
    assert load.stop() == 0, "every request has its answer in the end"
    wait_for(lambda: stack.sql(UNSETTLED) == [(0,)], within, "nothing is stuck")
    wait_for(lambda: stack.sql(UNSENT) == [(0,)], 60, "every event is sent")
    created = {entry["body"]["id"] for entry in answers(load) if entry["op"] == "create" and entry["status"] == 201}
    kept = {row[0] for row in stack.sql("SELECT id::text FROM transactions_transaction")}
    assert created <= kept, f"{len(created - kept)} of {len(created)} answers of 201 were lost"
    assert stack.sql(TWICE) == [], "no result is applied twice"
    late = overtaken(stack)
    by_webhook = {row[0] for row in stack.sql("SELECT key FROM outbox_outboxmessage WHERE channel = 'webhook'")}
    # What lies confirmed in a queue without a majority is overtaken by webhook: contract section 4 has the Consumer bear it.
    assert late <= by_webhook, "in order, whatever was gone"
    return {"transactions": len(created), "overtaken": len(late)}
