"""What one transaction costs in every part: CPU, memory, bytes of the log, rows. The whole system on private servers.

python ops/bench/cost.py [--count 2000]. CPU is that of the processes themselves, so that other load on the machine counts little.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psycopg2

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.private_postgres import PrivatePostgres
from tests.private_rabbitmq import PrivateRabbitMQ
from tests.stack import Stack, wait_for

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
PARTS = ("web", "relay", "worker", "beat", "consumer-web", "consumer-worker")


def stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def family(root: int) -> list[int]:
    """A process with all that descend from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(stat(int(entry.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_ms(root: int) -> float:
    """Of the family, with those of it that have ended and were waited for."""
    total = 0
    for pid in family(root):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = stat(pid)
            total += sum(int(fields[n]) for n in (11, 12, 13, 14))
    return total * TICK_MS


def memory_mb(root: int) -> float:
    """Proportional: what processes share counts once."""
    total = 0
    for pid in family(root):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def database(postgres: PrivatePostgres, name: str) -> dict[str, float]:
    """Counters that only grow."""
    ((wal,),) = postgres.sql("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    postgres.sql("SELECT pg_stat_force_next_flush()")
    query = "SELECT xact_commit, tup_inserted, tup_updated, tup_deleted FROM pg_stat_database WHERE datname = %s"
    ((commits, inserted, updated, deleted),) = postgres.sql(query, name)
    ((size,),) = postgres.sql("SELECT pg_database_size(%s)", name)
    return {"WAL bytes": wal, "commits": commits, "rows inserted": inserted, "rows updated": updated,
            "rows deleted": deleted, "bytes on disk": size}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=2000)
    options.add_argument("--quick", action="store_true", help="500 transactions")
    arguments = options.parse_args()
    count = 500 if arguments.quick else arguments.count
    postgres = PrivatePostgres()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "mq").mkdir(), (folder / "stack").mkdir()
        rabbit = PrivateRabbitMQ(folder / "mq")
        stack = None
        try:
            postgres.start(), rabbit.start()
            stack = Stack(folder / "stack", postgres.url, rabbit.url, private_broker=True, LOG_LEVEL="WARNING")
            measure(stack, postgres, rabbit, count)
        finally:
            if stack:
                stack.close()
            rabbit.close(), postgres.close()


def measure(stack: Stack, postgres: PrivatePostgres, rabbit: PrivateRabbitMQ, count: int) -> None:
    for start in (stack.web, stack.relay, stack.worker, stack.beat, stack.consumer_web, stack.consumer_worker):
        start()
    stack.submit(100)
    wait_for(lambda: stack.settled(100), 60, "warmed up")
    roots = {name: stack.processes[name].child.pid for name in PARTS}
    roots |= {"PostgreSQL": postgres.pid(), "RabbitMQ": rabbit.process.pid}
    before, rows = {name: cpu_ms(pid) for name, pid in roots.items()}, database(postgres, stack.name)
    stack.submit(count, body=lambda number: {**BODY, "external_id": f"cost-{number}"}, first=100)
    wait_until_settled(stack, 100 + count)
    after, rows_after = {name: cpu_ms(pid) for name, pid in roots.items()}, database(postgres, stack.name)
    print(f"{'':18}{'CPU ms':>9}{'memory MB':>12}   per transaction, of {count}")
    for name, pid in roots.items():
        cost, memory = (after[name] - before[name]) / count, memory_mb(pid)
        print(f"{name:18}{cost:9.2f}{memory:12.0f}")
        print(json.dumps({"bench": f"cost {name}", "ours": round(cost, 3), "other": None, "ratio": None, "unit": "ms"}))
    for name, value in rows_after.items():
        cost = (value - rows[name]) / count
        print(f"{name:18}{cost:9.1f}")
        print(json.dumps({"bench": f"cost {name}", "ours": round(cost, 2), "other": None, "ratio": None, "unit": "1"}))
    ((connections,),) = postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", stack.name)
    print(f"{'connections':18}{connections:9}   at PostgreSQL, of all processes")


def wait_until_settled(stack: Stack, count: int) -> None:
    """Asks seldom and on one connection: a new one for each question costs the server more than a transaction."""
    query = "SELECT count(*) FROM transactions_transaction WHERE status IN ('succeeded', 'failed')"
    with contextlib.closing(psycopg2.connect(stack.database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        until = time.monotonic() + 300
        while time.monotonic() < until:
            cursor.execute(query)
            if cursor.fetchone() == (count,):
                return
            time.sleep(0.5)
    raise SystemExit("not every transaction had its result within five minutes")


BODY = {
    "account_number": "DE89370400440532013000",
    "amount": "12.25",
    "currency": "EUR",
    "direction": "debit",
    "description": "Invoice",
}

if __name__ == "__main__":
    main()
