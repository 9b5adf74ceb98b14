"""Gathers the evidence of a run from the clients' log, the database, the tap, the Consumer and the broker."""

import json
import sqlite3
from pathlib import Path

from tests.faults.checker import Effect, Event, Evidence, Row, Told

# A ledger beside the product: whatever writes to a transaction is noted, in the writing transaction itself.
LEDGER = """
    CREATE TABLE IF NOT EXISTS faults_effect (
        n bigserial PRIMARY KEY, id uuid NOT NULL, status text NOT NULL, version int NOT NULL, was text);
    CREATE OR REPLACE FUNCTION faults_note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO faults_effect (id, status, version, was)
        VALUES (NEW.id, NEW.status, NEW.version, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END);
        RETURN NULL;
    END $$;
    CREATE OR REPLACE TRIGGER faults_note AFTER INSERT OR UPDATE ON transactions_transaction
        FOR EACH ROW EXECUTE FUNCTION faults_note();
"""


def read_clients(path: Path) -> list[dict]:
    with path.open() as lines:
        return [json.loads(line) for line in lines]


def told_by(entries: list[dict]) -> list[Told]:
    """What 2xx answers with a body said."""
    told = []
    for entry in entries:
        body = entry.get("body")
        if body is None:
            continue
        key = entry["key"] or entry["target"]
        for txn in body["data"] if entry["op"] == "batch" else [body]:
            told.append(Told(key, txn["id"], txn["version"], txn["amount"]))
    return told


def first_answers(entries: list[dict]) -> dict[str, dict]:
    first: dict[str, dict] = {}
    for entry in entries:
        if entry.get("status") == 201:
            first.setdefault(entry["key"], entry["body"])
    return first


def gather(stack, log_path: Path, wire: list, queues: dict[str, int], sacrificed: set[str]) -> Evidence:
    entries = read_clients(log_path)
    found = Evidence(told=told_by(entries), wire=list(wire), queues=queues, sacrificed=sacrificed)
    found.told_canceled = {entry["target"].rpartition("/")[2] for entry in entries if entry.get("status") == 204}
    found.attempted = {entry["key"]: entry.get("count", 1) for entry in entries if entry["key"]}
    found.rows = {
        txn_id: Row(status, version, amount)
        for txn_id, status, version, amount in stack.sql(
            "SELECT id::text, status, version, amount::text FROM transactions_transaction"
        )
    }
    found.effects = [
        Effect(*values) for values in stack.sql("SELECT id::text, status, version, was FROM faults_effect ORDER BY n")
    ]
    found.events = {
        event_id: Event(*values)
        for event_id, *values in stack.sql(
            "SELECT id::text, key, sequence, state, channel, lease_token IS NOT NULL FROM outbox_outboxmessage"
        )
    }
    found.applied = stack.sql(
        "SELECT transaction_id::text, webhook_id FROM transactions_historyentry "
        "WHERE kind = 'result' AND state = 'applied'"
    )
    states = dict(stack.sql("SELECT state, count(*) FROM webhooks_inboxmessage GROUP BY 1"))
    found.inbox_waiting = sum(states.get(state, 0) for state in ("received", "failed", "unmatched"))
    found.inbox_dead = sum(states.get(state, 0) for state in ("dead", "quarantined"))
    # A result for what the client canceled meanwhile is a conflict by contract; any other is a failure.
    found.inbox_dead += stack.sql(
        "SELECT count(*) FROM webhooks_inboxmessage AS m JOIN transactions_transaction AS t ON t.id = m.transaction_id "
        "WHERE m.state = 'conflict' AND t.status <> 'canceled'"
    )[0][0]
    consumer = sqlite3.connect(f"file:{stack.folder / 'consumer.sqlite3'}?mode=ro", uri=True, timeout=20)
    try:
        found.consumed = {row[0] for row in consumer.execute("SELECT event_id FROM consumer_event")}
        found.decided = consumer.execute(
            "SELECT transaction_id, transaction_version, type FROM consumer_result"
        ).fetchall()
    finally:
        consumer.close()
    return found
