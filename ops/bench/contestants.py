"""The ways to empty the outbox into the queue: ours, the least that could do it, and the usual way."""

# ruff: noqa: PLC0415 - Django is set up first

from collections.abc import Callable

import amqp
from rig import BATCH, Rig


def ours(rig: Rig) -> int:
    from outbox.relay import Horizon, run_once

    horizon, published = Horizon(), 0
    while (counts := run_once(limit=BATCH, horizon=horizon)).claimed:
        if counts.published != counts.claimed:
            raise RuntimeError(f"{counts}: {rig.error()}")
        published += counts.published
    return published


PLAIN = "bench_plain"


def plain(rig: Rig) -> None:
    """The same events in a table with nothing to it but what waits: one partial index, no partitions."""
    rig.sql(f"DROP TABLE IF EXISTS {PLAIN}")
    rig.sql(
        f"CREATE TABLE {PLAIN} AS SELECT id, type, body, state, due_at, published_at FROM outbox_outboxmessage;"
        f"ALTER TABLE {PLAIN} ADD PRIMARY KEY (id);"
        f"CREATE INDEX ON {PLAIN} (due_at, id) WHERE state = 'pending'"
    )
    rig.sql(f"VACUUM ANALYZE {PLAIN}")


def raw_plain(rig: Rig) -> int:
    """`raw` on that table: how much of the ceiling is the outbox's own table."""
    return raw(rig, PLAIN)


def raw(rig: Rig, table: str = "outbox_outboxmessage") -> int:
    """The ceiling: no lease, no order, no fence, no ORM, no breaker; claim, pipelined publish and mark in one transaction."""
    with amqp.Connection(**rig.broker) as broker:
        channel = broker.channel()
        channel.confirm_select()
        acked = {"up to": 0, "single": 0, "sent": 0}

        def on_ack(tag: int, multiple: bool) -> None:
            acked["up to"] = max(acked["up to"], tag)
            acked["single"] += tag - acked["single"] if multiple else 1

        channel.events["basic_ack"].add(on_ack)

        def publish(rows: list) -> None:
            for event_id, event_type, body in rows:
                message = amqp.Message(
                    body.encode(), content_type="application/json", delivery_mode=2, message_id=event_id
                )
                channel._basic_publish(message, exchange="transactions", routing_key=event_type, mandatory=True)
            acked["sent"] += len(rows)
            while acked["single"] < acked["sent"]:
                broker.drain_events(timeout=5)

        return _claim_and_mark(rig, publish, table)


def one_by_one(rig: Rig) -> int:
    """The usual way: kombu with confirm_publish waits for each."""
    import kombu
    from django.conf import settings

    with kombu.Connection(settings.BROKER_URL, transport_options={"confirm_publish": True}) as broker:
        producer = kombu.Producer(broker)

        def publish(rows: list) -> None:
            for event_id, event_type, body in rows:
                producer.publish(
                    body.encode(), exchange="transactions", routing_key=event_type, content_type="application/json",
                    content_encoding="utf-8", message_id=event_id, mandatory=True,
                )  # fmt: skip

        return _claim_and_mark(rig, publish)


def _claim_and_mark(rig: Rig, publish: Callable[[list], None], table: str = "outbox_outboxmessage") -> int:
    done = 0
    with rig.raw_db.cursor() as cursor:
        while True:
            cursor.execute(
                f"SELECT id::text, type, body FROM {table} WHERE state = 'pending' AND due_at <= now() "
                "ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED",
                (BATCH,),
            )
            rows = cursor.fetchall()
            if rows:
                publish(rows)
                cursor.execute(
                    f"UPDATE {table} SET state = 'published', published_at = now()"
                    " WHERE state = 'pending' AND id = ANY(%s::uuid[])",
                    ([row[0] for row in rows],),
                )
            rig.raw_db.commit()
            if not rows:
                return done
            done += len(rows)
