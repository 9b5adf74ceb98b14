"""One sample of what must stay bounded: memory, threads, files and connections of each process; tables and indexes."""

import contextlib
import os
import time
from pathlib import Path

PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
TABLES = "outbox_outboxmessage", "webhooks_inboxmessage", "transactions_transaction", "transactions_historyentry"
# What a claim reads: bounded by what waits, whatever was published before.
WORKING_INDEXES = "outbox_due", "outbox_key_waiting", "inbox_due"
# A table or index with its partitions, where it has some.
PARTS = (
    " LEFT JOIN pg_class p ON p.relname = t.name LEFT JOIN LATERAL"
    " (SELECT p.oid UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = p.oid) AS c(oid) ON true"
)


def sample(world) -> dict:
    found: dict = {"at": time.time(), "processes": {}}
    for name, process in world.stack.processes.items():
        found["processes"][name] = _of_group(process.child.pid)
    found["connections"] = dict(
        world.stack.sql(
            "SELECT coalesce(state, 'none'), count(*) FROM pg_stat_activity WHERE datname = %s GROUP BY 1",
            world.stack.name,
        )
    )
    sizes = world.stack.sql(
        "SELECT t.name, coalesce(sum(pg_table_size(c.oid)), 0)::bigint, coalesce(sum(pg_indexes_size(c.oid)), 0)::bigint,"
        " coalesce(sum(s.n_live_tup), 0)::bigint, coalesce(sum(s.n_dead_tup), 0)::bigint FROM unnest(%s) AS t(name)"
        + PARTS
        + " LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid GROUP BY 1",
        list(TABLES),
    )
    found["tables"] = {
        name: {"table": table, "indexes": indexes, "live": live, "dead": dead}
        for name, table, indexes, live, dead in sizes
    }
    found["indexes"] = dict(
        world.stack.sql(
            "SELECT t.name, coalesce(sum(pg_relation_size(c.oid)), 0)::bigint FROM unnest(%s) AS t(name)"
            + PARTS
            + " GROUP BY 1",
            list(WORKING_INDEXES),
        )
    )
    states = world.stack.statuses()
    found["in_flight"] = states.get("pending", 0) + states.get("processing", 0)
    found["ended"] = sum(count for status, count in states.items() if status not in {"pending", "processing"})
    return found


def _of_group(leader: int) -> dict:
    """Summed over the process and what it forked."""
    total = {"processes": 0, "rss_kb": 0, "threads": 0, "files": 0}
    for pid in _group(leader):
        with contextlib.suppress(OSError, ValueError, IndexError):
            proc = Path("/proc") / str(pid)
            total["rss_kb"] += int((proc / "statm").read_text().split()[1]) * PAGE_KB
            total["threads"] += len(os.listdir(proc / "task"))
            total["files"] += len(os.listdir(proc / "fd"))
            total["processes"] += 1
    return total


def _group(leader: int) -> list[int]:
    """Every process of the group: each of ours leads one."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = (Path("/proc") / entry / "stat").read_text()
                if int(stat.rpartition(")")[2].split()[2]) == leader:
                    found.append(int(entry))
    return found
