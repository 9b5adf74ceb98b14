"""How fast the relay is, next to what the machine can do: `make bench` runs it; --quick takes a minute or two.

Makes a database and a vhost of its own and drops them. Contestants take turns within a round, so that other load on the
machine hits them alike: read the ratios. DATABASE_URL and BROKER_URL say where PostgreSQL and RabbitMQ are.
"""

# ruff: noqa: PLC0415 - Django's settings name the database, which is made first

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

ROOT = Path(__file__).resolve().parents[2]
NAME = f"bench_relay_{os.getpid()}"
BATCH = 500

FILL = """
INSERT INTO outbox_outboxmessage (id, topic, type, key, sequence, body, state, created_at, due_at, attempts, parked,
                                  claimed_by, error, channel, published_at)
SELECT id, 'transactions', 'transaction.created', key, sequence,
       rpad('{{"specversion":"1.0","id":"' || id || '","subject":"' || key || '","data":{{"description":"', 597, 'x') || '"}}}}',
       '{state}', now(), {due}, 0, false, '', '', '', {published}
  FROM (SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint + g / 4096), 12, '0') || '7'
                || lpad(to_hex(g %% 4096), 3, '0') || '8000' || lpad(to_hex(g), 12, '0'))::uuid AS id,
               {key} AS key, g AS sequence
          FROM generate_series(%s, %s) AS g) AS rows
"""


class Bench:
    """The database, the queue, and the ways to empty the one into the other."""

    def __init__(self) -> None:
        import amqp
        import psycopg2
        from django.conf import settings
        from django.db import connection

        from outbox import topology

        self.connection, self.queue = connection, settings.OUTBOX_ROUTES["transactions"]["queue"]
        with topology.connect() as broker:
            broker.connect()
            topology.declare(broker)
        where = urlsplit(settings.BROKER_URL)
        self.broker = {
            "host": f"{where.hostname}:{where.port or 5672}",
            "userid": where.username,
            "password": where.password,
            "virtual_host": where.path[1:],
        }
        self.amqp, self.raw_db = amqp, psycopg2.connect(settings.DATABASE_URL)
        self.filled = 0

    def sql(self, statement: str, parameters: tuple = ()) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    def fill(self, count: int, *, keys: str = "'key-' || g", state: str = "pending", due: str = "now()") -> None:
        published = "now()" if state == "published" else "NULL"
        self.sql("SET statement_timeout = 0")
        for start in range(self.filled, self.filled + count, 250_000):
            stop = min(start + 250_000, self.filled + count) - 1
            self.sql(FILL.format(state=state, due=due, key=keys, published=published), (start, stop))
        self.filled += count

    def fresh(self, count: int, **options: str) -> None:
        """An empty queue and a table with `count` events, with statistics as autovacuum would have made them."""
        self.sql("TRUNCATE outbox_outboxmessage")
        with self.amqp.Connection(**self.broker) as broker:
            broker.channel().queue_purge(self.queue)
        if count:
            self.fill(count, **options)
        self.sql("VACUUM ANALYZE outbox_outboxmessage")

    def ours(self) -> int:
        from outbox.relay import Horizon, run_once

        horizon, published = Horizon(), 0
        while (counts := run_once(limit=BATCH, horizon=horizon)).claimed:
            if counts.published != counts.claimed:
                raise RuntimeError(f"{counts}: {self.error()}")
            published += counts.published
        return published

    def error(self) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT error FROM outbox_outboxmessage WHERE error <> '' LIMIT 1")
            return str(cursor.fetchone())

    def raw(self) -> int:
        """The ceiling: no lease, no order, no fence, no ORM, no breaker; claim, pipelined publish and mark in one transaction."""
        with self.amqp.Connection(**self.broker) as broker:
            channel = broker.channel()
            channel.confirm_select()
            acked = {"up to": 0, "single": 0, "sent": 0}

            def on_ack(tag: int, multiple: bool) -> None:
                acked["up to"] = max(acked["up to"], tag)
                acked["single"] += tag - acked["single"] if multiple else 1

            channel.events["basic_ack"].add(on_ack)

            def publish(rows: list) -> None:
                for event_id, event_type, body in rows:
                    message = self.amqp.Message(
                        body.encode(), content_type="application/json", delivery_mode=2, message_id=event_id
                    )
                    channel._basic_publish(message, exchange="transactions", routing_key=event_type, mandatory=True)
                acked["sent"] += len(rows)
                while acked["single"] < acked["sent"]:
                    broker.drain_events(timeout=5)

            return self._claim_and_mark(publish)

    def one_by_one(self, limit: int = BATCH) -> int:
        """The usual way: kombu with confirm_publish waits for each."""
        import kombu
        from django.conf import settings

        with kombu.Connection(settings.BROKER_URL, transport_options={"confirm_publish": True}) as broker:
            producer = kombu.Producer(broker)

            def publish(rows: list) -> None:
                for event_id, event_type, body in rows:
                    producer.publish(
                        body.encode(),
                        exchange="transactions",
                        routing_key=event_type,
                        content_type="application/json",
                        content_encoding="utf-8",
                        message_id=event_id,
                        mandatory=True,
                    )

            return self._claim_and_mark(publish)

    def _claim_and_mark(self, publish: Callable[[list], None]) -> int:
        done = 0
        with self.raw_db.cursor() as cursor:
            while True:
                cursor.execute(
                    "SELECT id::text, type, body FROM outbox_outboxmessage WHERE state = 'pending' AND due_at <= now() "
                    "ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED",
                    (BATCH,),
                )
                rows = cursor.fetchall()
                if rows:
                    publish(rows)
                    cursor.execute(
                        "UPDATE outbox_outboxmessage SET state = 'published', published_at = now() WHERE id = ANY(%s::uuid[])",
                        ([row[0] for row in rows],),
                    )
                self.raw_db.commit()
                if not rows:
                    return done
                done += len(rows)

    def rate(self, drain: Callable[[], int], count: int, **options: str) -> float:
        self.fresh(count, **options)
        started = time.perf_counter()
        done = drain()
        seconds = time.perf_counter() - started
        with self.amqp.Connection(**self.broker) as broker:
            arrived = broker.channel().queue_declare(self.queue, passive=True).message_count
        assert done == arrived == count, (done, arrived, count)
        return count / seconds

    def claim_seconds(self, repeat: int = 10) -> float:
        """The median of `repeat` claims of a full batch, each handed back."""
        from outbox.claim import claim, release

        times = []
        for _ in range(repeat):
            started = time.perf_counter()
            batch = claim(limit=BATCH, lease_seconds=30, relay="bench")
            times.append(time.perf_counter() - started)
            assert len(batch.events) == BATCH
            release(batch)
        return statistics.median(times)

    def relays(self, processes: int, count: int) -> float:
        """`count` events through relays in processes of their own; their start is not counted."""
        self.fresh(count)
        command = [sys.executable, __file__, "--drain"]
        running = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            for _ in range(processes)
        ]
        for process in running:
            assert process.stdout.readline() == "ready\n"
        started = time.perf_counter()
        for process in running:
            process.stdin.write("go\n")
            process.stdin.flush()
        done = [int(process.stdout.readline()) for process in running]
        seconds = time.perf_counter() - started
        for process in running:
            process.communicate()
        assert sum(done) == count, done
        return count / seconds


def report(name: str, ours: list[float], other: list[float], unit: str, *, want: str) -> None:
    """One line for people, one for machines. Ratios are taken round by round; the spread is that of the ratios."""
    ratios = [mine / theirs for mine, theirs in zip(ours, other, strict=True)]
    mine, theirs, ratio = statistics.median(ours), statistics.median(other), statistics.median(ratios)
    digits = 4 if unit == "s" else 0
    spread = f"[{min(ratios):.2f}-{max(ratios):.2f}]"
    print(f"{name:<44} {mine:>9.{digits}f} {theirs:>9.{digits}f} {unit:<9} {ratio:>6.2f} {spread:<13} {want}")
    line = {
        "bench": f"relay.{name}",
        "ours": round(mine, 6),
        "other": round(theirs, 6),
        "ratio": round(ratio, 3),
        "unit": unit,
    }
    LINES.append(json.dumps(line))


LINES: list[str] = []


def speed(bench: Bench, rounds: int, count: int) -> None:
    """Issue 4, "Must show" 1 and 2."""
    one_key = {"keys": "'hot'"}
    contestants: dict[str, Callable[[], float]] = {
        "ours": lambda: bench.rate(bench.ours, count),
        "raw": lambda: bench.rate(bench.raw, count),
        "one by one": lambda: bench.rate(bench.one_by_one, count // 10),
        "hot": lambda: bench.rate(bench.ours, count, **one_key),
        "one relay": lambda: bench.relays(1, count),
        "two relays": lambda: bench.relays(2, count),
    }
    results: dict[str, list[float]] = {name: [] for name in contestants}
    bench.rate(bench.ours, 1000)
    for number in range(rounds):
        # Every other round backwards: what slows the machine for a while does not always meet the same one.
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            results[name].append(contestants[name]())
    report("ours / raw ceiling", results["ours"], results["raw"], "events/s", want=">= 0.7")
    report("ours / one-by-one confirms", results["ours"], results["one by one"], "events/s", want=">= 6")
    report("one hot key / many keys", results["hot"], results["ours"], "events/s", want=">= 0.6")
    report("two relays / one relay", results["two relays"], results["one relay"], "events/s", want=">= 1")


def growth(bench: Bench, pending: int, backoff: int, published: int) -> None:
    """Issue 4, "Must show" 3: claim times. Compared with the better of two runs on a small table, before and after."""
    bench.fresh(1000)
    few, grown = bench.claim_seconds(), {}
    bench.fresh(pending)
    grown[f"claim, {pending:,} pending / 1,000"] = bench.claim_seconds()
    bench.fresh(1000)
    bench.fill(backoff, due="now() + interval '1 hour'")
    bench.sql("VACUUM ANALYZE outbox_outboxmessage")
    grown[f"claim, {backoff:,} in backoff / none"] = bench.claim_seconds()
    if published:
        bench.fresh(1000)
        bench.fill(published, state="published")
        bench.sql("VACUUM ANALYZE outbox_outboxmessage")
        grown[f"claim, {published:,} published / none"] = bench.claim_seconds()
    bench.fresh(1000)
    few = min(few, bench.claim_seconds())
    for name, seconds in grown.items():
        report(name, [seconds], [few], "s", want="<= 2")


def held(bench: Bench, count: int) -> None:
    """A transaction that is open during the whole drain keeps every dead row and index entry from being cleaned."""
    from outbox.relay import Horizon, run_once

    bench.fresh(count, due=f"now() - interval '1 ms' * ({count} - sequence)")
    with bench.raw_db.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM outbox_outboxmessage")
    horizon, marks, done, started = Horizon(), [0.0], 0, time.perf_counter()
    while (counts := run_once(limit=BATCH, horizon=horizon)).claimed:
        done += counts.published
        if done >= len(marks) * count / 4:
            marks.append(time.perf_counter() - started)
    bench.raw_db.rollback()
    quarters = [count / 4 / (after - before) for before, after in pairwise(marks)]
    report(f"last quarter / first, snapshot held, {count:,}", [quarters[-1]], [quarters[0]], "events/s", want=">= 0.5")


def drain() -> None:
    """A relay in a process of its own: warm, then at a word."""
    from outbox.models import OutboxMessage
    from outbox.publisher import publishers
    from outbox.relay import Horizon, run_once

    OutboxMessage.objects.first()
    publishers()[0]._open()
    print("ready", flush=True)
    sys.stdin.readline()
    horizon, published = Horizon(), 0
    while (counts := run_once(limit=BATCH, horizon=horizon)).claimed or counts.more:
        published += counts.published
    print(published, flush=True)


def own(url: str, name: str) -> str:
    """`url` with its path replaced: the same server, a database or vhost of our own."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def setup() -> None:
    sys.path.insert(0, str(ROOT))
    os.environ.update(DJANGO_SETTINGS_MODULE="producer.settings", LOG_LEVEL="ERROR")
    os.environ.update(DEBUG="false", SECRET_KEY="bench", ALLOWED_HOSTS="-")
    import django

    django.setup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and rows: about two minutes")
    parser.add_argument("--only", choices=["speed", "growth", "held"], help="one part alone")
    parser.add_argument("--drain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drain:
        setup()
        drain()
        return
    database = os.environ.get("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    broker = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//")
    os.environ["DATABASE_URL"], os.environ["BROKER_URL"] = own(database, NAME), own(broker, NAME)
    subprocess.run(["createdb", "--maintenance-db", database, NAME], check=True)
    try:
        for verb in (
            ["add_vhost", NAME],
            ["set_permissions", "-p", NAME, urlsplit(broker).username or "guest", ".*", ".*", ".*"],
        ):
            subprocess.run(["rabbitmqctl", "--quiet", *verb], check=True, stdout=subprocess.DEVNULL)
        setup()
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", "outbox", verbosity=0)
        bench = Bench()
        print(f"{'':<44} {'ours':>9} {'other':>9} {'':<9} {'ratio':>6} {'spread':<13} wanted", flush=True)
        if options.only in (None, "speed"):
            speed(bench, rounds=3 if options.quick else 5, count=5_000 if options.quick else 20_000)
        if options.only in (None, "held"):
            held(bench, 40_000 if options.quick else 200_000)
        if options.only in (None, "growth"):
            growth(bench, *((200_000, 50_000, 0) if options.quick else (1_000_000, 200_000, 5_000_000)))
        print(*LINES, sep="\n")
        bench.raw_db.close()
        connection.close()
    finally:
        subprocess.run(["dropdb", "--force", "--maintenance-db", database, NAME], check=False)
        subprocess.run(["rabbitmqctl", "--quiet", "delete_vhost", NAME], check=False, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
