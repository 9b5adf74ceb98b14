"""F25 to F32: a PostgreSQL that restarts, loses connections, locks, fills up, refuses to write."""

import contextlib
import threading
import time
from collections import Counter

import psycopg2

from tests.faults.primitives import kill_a_backend
from tests.faults.proxy import Cutter
from tests.faults.row import Run, row
from tests.faults.streams import IN_AN_ANSWER, commit_kind, every_offset
from tests.faults.world import SCALE
from tests.stack import wait_for


@row("F25", "PostgreSQL restarted: fast, immediate, killed", recovery=30)
def restarted(run):
    world = run.world
    for mode in ("fast", "immediate", "kill"):
        if mode == "kill":
            world.postgres.kill()
            # Its children end when they notice; the new one waits for them.
            _start_again(world.postgres)
        else:
            world.postgres.stop(mode)
            time.sleep(run.random.uniform(0, 2))
            world.postgres.start()
        time.sleep(2)
        world.burst(80)


def _start_again(postgres) -> None:
    def started() -> bool:
        with contextlib.suppress(AssertionError):
            postgres.start()
            return True
        return False

    wait_for(started, 60, "PostgreSQL starts after kill -9")


@row("F25q", "PostgreSQL restarted at once", recovery=60, quick=True)
def restarted_once(run):
    run.world.postgres.stop("immediate")
    run.world.postgres.start()


@row("F26", "A storm of killed backends", recovery=30, quick=True)
def backend_storm(run):
    killed = 0
    until = time.monotonic() + 8
    while time.monotonic() < until:
        killed += kill_a_backend(run.world, run.random)
        time.sleep(0.25)
    run.note(backends_killed=killed)
    run.check(killed >= 10, "hardly any backend was killed")


@row(
    "F27",
    "The outcome of a COMMIT is unknown: cut at each byte of it and of its answer",
    proxied=("database",),
    recovery=30,
)
def commit_unknown(run):
    # What is left are heartbeats, task results and the like.
    _cut_commits(run, gap=0.15, transactions_create=40, COMMIT=40, other=40)


@row("F27q", "The outcome of a COMMIT is unknown, quickly", proxied=("database",), recovery=30, quick=True)
def commit_unknown_quickly(run):
    _cut_commits(run, gap=0.1, other=40)


def _cut_commits(run: Run, gap: float, **times: int) -> None:
    """Cuts so many of each kind, one kind after the other: the most frequent would else take nearly all cuts."""
    met: Counter[str] = Counter()
    places = set()
    for wanted, number in times.items():

        def matches(message: bytes, wanted: str = wanted) -> bool:
            kind = commit_kind(message)
            found = kind == wanted or bool(kind and wanted == "other" and kind not in times)
            # Asked only when the next cut is due: what it finds is cut.
            met.update([kind] if found else [])
            return found

        cutter = Cutter(matches, every_offset, IN_AN_ANSWER, gap=gap)
        run.world.db_proxy.cutter = cutter
        wait_for(lambda: len(cutter.done) >= number, 120, f"{number} cuts of {wanted}")  # noqa: B023
        run.world.db_proxy.cutter = None
        places |= {(wanted, place) for place in cutter.done}
        run.world.burst(100)
    run.note(cuts=sum(met.values()), places=len(places), cut=dict(met))


@row("F28", "Deadlocks and lock timeouts", recovery=30)
def deadlocks(run):
    """Two sessions of others lock the same rows as we do, each in its own order."""
    world, stopping, made = run.world, threading.Event(), []

    def locker(order: str) -> None:
        while not stopping.is_set():
            with contextlib.suppress(psycopg2.Error), psycopg2.connect(world.stack.database_url) as connection:
                cursor = connection.cursor()
                cursor.execute("SET deadlock_timeout = '200ms'")
                # The same rows, one after the other, so that the two meet half way: those that have their result next.
                cursor.execute(
                    "SELECT id FROM (SELECT id FROM transactions_transaction WHERE status = 'pending' ORDER BY id LIMIT 30)"
                    f" AS oldest ORDER BY id {order}"
                )
                for (txn_id,) in cursor.fetchall():
                    cursor.execute("SELECT 1 FROM transactions_transaction WHERE id = %s FOR UPDATE", (txn_id,))
                    time.sleep(0.01)
                made.append(1)
            stopping.wait(0.1)

    threads = [threading.Thread(target=locker, args=(order,)) for order in ("ASC", "DESC", "ASC")]
    for thread in threads:
        thread.start()
    for _ in range(4):
        world.burst(100)
        time.sleep(2)
    stopping.set()
    for thread in threads:
        thread.join(30)
    found = world.postgres.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = %s", world.stack.name)
    run.note(deadlocks=found[0][0], lock_rounds=len(made))
    run.check(found[0][0] > 0, "there was no deadlock")


@row("F29", "One transaction's lock held for 12 s", recovery=30)
def long_lock(run):
    world = run.world
    with psycopg2.connect(world.stack.database_url) as holder:
        cursor = holder.cursor()
        cursor.execute(
            "SELECT id::text FROM transactions_transaction WHERE status = 'pending' ORDER BY id DESC LIMIT 5 FOR UPDATE SKIP LOCKED"
        )
        locked = [row[0] for row in cursor.fetchall()]
        before = world.counts(("succeeded",))[0]
        for _ in range(6):
            world.burst(50)
            time.sleep(2)
        gained = world.counts(("succeeded",))[0] - before
    run.note(locked=len(locked), others_meanwhile=gained)
    run.check(gained >= 150 * SCALE, f"only {gained} others ended while {len(locked)} rows were locked")


@row("F31", "PostgreSQL's connections used up", recovery=30)
def connections_used_up(run):
    world = run.world
    open_ones = []
    with contextlib.suppress(psycopg2.errors.DuplicateObject):
        world.postgres.sql("CREATE ROLE other LOGIN")
    until = time.monotonic() + 8
    # Backends of ours that end make room, which is taken at once.
    while time.monotonic() < until:
        with contextlib.suppress(psycopg2.OperationalError):
            open_ones.append(psycopg2.connect(world.stack.database_url, user="other", connect_timeout=2))
            continue
        # An application's connection comes anew, and finds no room.
        with contextlib.suppress(psycopg2.OperationalError):
            kill_a_backend(world, run.random)
        time.sleep(0.1)
    run.note(taken=len(open_ones))
    run.check(len(open_ones) > 50, "hardly a connection was taken")
    for connection in open_ones:
        connection.close()


@row("F32", "PostgreSQL read-only, as after a failover", recovery=30, quick=True)
def read_only(run):
    world = run.world
    name = world.stack.name
    world.postgres.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    world.postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()", name
    )
    try:
        time.sleep(6)
        refused = sum(entry.get("status") == 503 for entry in world.answers())
        run.note(refused=refused)
        run.check(refused > 0, "nothing was refused")
    finally:
        world.postgres.sql(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        world.postgres.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            name,
        )
