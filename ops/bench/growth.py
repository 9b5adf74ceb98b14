"""Issue 4, "Must show" 3: claim times on large tables, and a drain while a transaction is held open elsewhere."""

import time
from itertools import pairwise

from report import compare
from rig import BATCH, Rig


def claims(rig: Rig, pending: int, backoff: int, published: int) -> None:
    """Compared with the better of two runs on a small table, before and after."""
    rig.fresh(1000)
    few, grown = rig.claim_seconds(), {}
    rig.fresh(pending)
    grown[f"claim, {pending:,} pending / 1,000"] = rig.claim_seconds()
    rig.fresh(1000)
    rig.fill(backoff, due="now() + interval '1 hour'")
    rig.sql("VACUUM ANALYZE outbox_outboxmessage")
    grown[f"claim, {backoff:,} in backoff / none"] = rig.claim_seconds()
    if published:
        rig.fresh(1000)
        rig.fill(published, state="published")
        rig.sql("VACUUM ANALYZE outbox_outboxmessage")
        grown[f"claim, {published:,} published / none"] = rig.claim_seconds()
    rig.fresh(1000)
    few = min(few, rig.claim_seconds())
    for name, seconds in grown.items():
        compare(name, [1000 * seconds], [1000 * few], "ms", want="<= 2")


def held(rig: Rig, count: int) -> None:
    """A transaction that is open during the whole drain keeps every dead row and index entry from being cleaned.

    The queue is emptied after each quarter, outside the measured time: how a broker does with a queue that nobody reads is
    another question.
    """
    from outbox.relay import Horizon, run_once  # noqa: PLC0415 - Django is set up first

    # Sequences go on from what earlier parts filled in; all of them must be due.
    rig.fresh(count, due=f"now() - interval '1 ms' * ({rig.filled + count} - sequence)")
    with rig.raw_db.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM outbox_outboxmessage")
    horizon, marks, done, busy = Horizon(), [0.0], 0, 0.0
    while True:
        started = time.perf_counter()
        counts = run_once(limit=BATCH, horizon=horizon)
        busy += time.perf_counter() - started
        done += counts.published
        if not counts.claimed:
            break
        if done >= len(marks) * count / 4:
            marks.append(busy)
            rig.purge()
    rig.raw_db.rollback()
    quarters = [count / 4 / (after - before) for before, after in pairwise(marks)]
    assert done == count, done
    compare(f"last quarter / first, snapshot held, {count:,}", [quarters[-1]], [quarters[0]], "events/s", want=">= 0.5")
