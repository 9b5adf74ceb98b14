"""Insert to confirmed with faststream-outbox (asyncpg, LISTEN/NOTIFY), its defaults; prints the latencies as JSON.

python faststream_latency.py DATABASE_URL BROKER_URL COUNT PER_SECOND
"""

import asyncio
import json
import sys
import time

from faststream.rabbit import QueueType, RabbitBroker, RabbitQueue
from faststream_outbox import OutboxBroker, make_outbox_table
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine


async def main(database: str, broker_url: str, count: int, per_second: float) -> None:
    metadata = MetaData()
    table = make_outbox_table(metadata, table_name="outbox_faststream")
    engine = create_async_engine(database.replace("postgres://", "postgresql+asyncpg://", 1))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    outbox, rabbit = (
        OutboxBroker(engine, outbox_table=table),
        RabbitBroker(broker_url, virtualhost=broker_url.rsplit("/", 1)[1]),
    )
    queue = RabbitQueue("faststream", queue_type=QueueType.QUORUM, durable=True)
    taken: list[float] = []

    @outbox.subscriber("relayed")
    async def relay(body: dict) -> None:
        await rabbit.publish(body, queue=queue, persist=True)
        taken.append(time.time() - body["at"])

    await rabbit.start()
    await rabbit.declare_queue(queue)
    await outbox.start()
    session_of = async_sessionmaker(engine, expire_on_commit=False)
    start = time.perf_counter() + 1
    for number in range(count + 50):
        await asyncio.sleep(max(0, start + number / per_second - time.perf_counter()))
        async with session_of() as session, session.begin():
            await outbox.publish({"at": time.time(), "pad": "x" * 560}, queue="relayed", session=session)
    for _ in range(100):
        if len(taken) >= count + 50:
            break
        await asyncio.sleep(0.1)
    print(json.dumps(taken[50:]), flush=True)
    await outbox.stop()
    await rabbit.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
