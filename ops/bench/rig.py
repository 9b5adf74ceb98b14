"""A queue to fill and a table to empty: what every measurement of the relay stands on."""

# ruff: noqa: PLC0415 - Django is set up first

import statistics
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import amqp
import psycopg2
from crew import Worked, at_a_word
from private import ROOT

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


class Rig:
    def __init__(self) -> None:
        from django.conf import settings
        from django.db import connection

        from outbox import topology

        self.connection, self.queue = connection, settings.OUTBOX_ROUTES["transactions"]["queue"]
        with topology.connect() as broker:
            broker.connect()
            topology.declare(broker)
        where = urlsplit(settings.BROKER_URL)
        self.broker = {
            "host": f"{where.hostname}:{where.port or 5672}", "userid": where.username, "password": where.password,
            "virtual_host": where.path[1:],
        }  # fmt: skip
        self.raw_db = psycopg2.connect(settings.DATABASE_URL)
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
        self.purge()
        if count:
            self.fill(count, **options)
        self.sql("VACUUM ANALYZE outbox_outboxmessage")

    def purge(self) -> None:
        """What a Consumer would have taken by now. RabbitMQ slows down with hundreds of thousands in one queue."""
        with amqp.Connection(**self.broker) as broker:
            broker.channel().queue_purge(self.queue)

    def error(self) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT error FROM outbox_outboxmessage WHERE error <> '' LIMIT 1")
            return str(cursor.fetchone())

    def rate(
        self,
        drain: Callable[["Rig"], int],
        count: int,
        prepare: Callable[["Rig"], None] = lambda _: None,
        **options: str,
    ) -> float:
        """Events a second that `drain` brings from the table into the queue; all must have arrived. `prepare` is not timed."""
        self.fresh(count, **options)
        prepare(self)
        started = time.perf_counter()
        done = drain(self)
        seconds = time.perf_counter() - started
        with amqp.Connection(**self.broker) as broker:
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

    def relays(
        self,
        environments: list[dict[str, str]],
        count: int,
        batch: int = BATCH,
        before: Callable[[], object] = lambda: None,
    ) -> Worked:
        """`count` events through a relay for each environment, in processes of their own."""
        self.fresh(count)
        command = [sys.executable, str(ROOT / "ops/bench/relay.py"), "--drain", str(batch)]
        worked = at_a_word(command, environments, before)
        assert worked.done == count, worked
        return worked


def drain(batch: int) -> None:
    """A relay in a process of its own: warm, then at a word."""
    from outbox.models import OutboxMessage
    from outbox.publisher import publishers
    from outbox.relay import Horizon, run_once

    OutboxMessage.objects.first()
    publishers()[0]._open()
    print("ready", flush=True)
    sys.stdin.readline()
    horizon, published = Horizon(), 0
    while (counts := run_once(limit=batch, horizon=horizon)).claimed or counts.more:
        published += counts.published
    print(published, flush=True)
