"""Faults that can be made at any time beside others: each lasts some seconds and heals itself. For nemesis and soak."""

import contextlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import kombu
import psycopg2

from tests.faults import replayer
from tests.faults.proxy import DOWN, UP, Cutter
from tests.faults.streams import IN_A_CONFIRM, IN_AN_ANSWER, commits, every_offset, frame_boundaries, publishes_an_event
from tests.faults.world import World
from tests.stack import wait_for

Make = Callable[[World, random.Random, float], None]


@dataclass(frozen=True)
class Primitive:
    """`touches`: what it needs for itself; two faults of one server at once could not be told apart, or healed."""

    name: str
    touches: str
    make: Make


PRIMITIVES: list[Primitive] = []


def primitive(name: str, touches: str) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        PRIMITIVES.append(Primitive(name, touches, make))
        return make

    return register


def _killer(name: str) -> Make:
    def make(world: World, rng: random.Random, seconds: float) -> None:
        world.kill(name)
        time.sleep(rng.uniform(0.5, 2))

    return make


def _freezer(name: str) -> Make:
    def make(world: World, rng: random.Random, seconds: float) -> None:
        world.freeze(name)
        try:
            time.sleep(seconds)
        finally:
            world.thaw(name)

    return make


for _name in ("relay", "worker", "beat", "web", "consumer-worker", "consumer-web"):
    primitive(f"kill {_name}", _name)(_killer(_name))
for _name in ("relay", "worker", "consumer-worker"):
    primitive(f"freeze {_name}", _name)(_freezer(_name))


@primitive("kill RabbitMQ", "broker")
def kill_broker(world, rng, seconds):
    world.broker.kill()
    time.sleep(rng.uniform(0, seconds))
    world.broker.start()


@primitive("freeze RabbitMQ", "broker")
def freeze_broker(world, rng, seconds):
    world.broker.freeze()
    try:
        time.sleep(seconds)
    finally:
        world.broker.thaw()


@primitive("RabbitMQ's memory alarm", "broker")
def memory_alarm(world, rng, seconds):
    world.broker.ctl("set_vm_memory_high_watermark", "0")
    try:
        time.sleep(seconds)
    finally:
        world.broker.ctl("set_vm_memory_high_watermark", "0.4")


@primitive("close RabbitMQ's connections", "broker")
def close_connections(world, rng, seconds):
    world.broker.ctl("close_all_connections", "nemesis")
    time.sleep(1)


@primitive("delete the binding", "broker")
def delete_binding(world, rng, seconds):
    with kombu.Connection(world.broker.url) as connection, connection.channel() as channel:
        channel.queue_unbind(replayer.QUEUE, "transactions", "transaction.#")
    time.sleep(1)


@primitive("restart PostgreSQL", "database")
def restart_database(world, rng, seconds):
    world.postgres.stop(rng.choice(["fast", "immediate"]))
    time.sleep(rng.uniform(0, 3))
    world.postgres.start()


@primitive("kill PostgreSQL's backends", "database")
def kill_backends(world, rng, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(psycopg2.Error):
            kill_a_backend(world, rng)
        time.sleep(0.3)


@primitive("PostgreSQL read-only", "database")
def read_only(world, rng, seconds):
    name = world.stack.name
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    world.postgres.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    try:
        world.postgres.sql(others, name)
        time.sleep(seconds)
    finally:
        world.postgres.sql(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        world.postgres.sql(others, name)


@primitive("cut the broker's connections", "broker's network")
def cut_broker(world, rng, seconds):
    for _ in range(3):
        world.broker_proxy.cut(rst=rng.random() < 0.7)
        time.sleep(rng.uniform(0.3, 1.5))


@primitive("cut frames to the broker", "broker's network")
def cut_frames(world, rng, seconds):
    world.broker_proxy.cutter = Cutter(publishes_an_event, frame_boundaries, IN_A_CONFIRM, gap=0.3)
    time.sleep(seconds)
    world.broker_proxy.cutter = None


@primitive("partition from the broker", "broker's network")
def hold_broker(world, rng, seconds):
    world.broker_proxy.hold = rng.choice([{UP}, {DOWN}, {UP, DOWN}])
    time.sleep(seconds)
    world.broker_proxy.hold = set()


@primitive("slow network to the broker", "broker's network")
def slow_broker(world, rng, seconds):
    world.broker_proxy.delay = (0.05, 0.2)
    time.sleep(seconds)
    world.broker_proxy.delay = (0.0, 0.0)


@primitive("cut the database's connections", "database's network")
def cut_database(world, rng, seconds):
    for _ in range(3):
        world.db_proxy.cut(rst=rng.random() < 0.7)
        time.sleep(rng.uniform(0.3, 1.5))


@primitive("cut COMMITs", "database's network")
def cut_commits(world, rng, seconds):
    world.db_proxy.cutter = Cutter(commits, every_offset, IN_AN_ANSWER, gap=0.2)
    time.sleep(seconds)
    world.db_proxy.cutter = None


@primitive("partition from the database", "database's network")
def hold_database(world, rng, seconds):
    world.db_proxy.hold = rng.choice([{UP}, {DOWN}, {UP, DOWN}])
    time.sleep(min(seconds, 6))
    world.db_proxy.hold = set()


@primitive("copies of events and results", "copies")
def copies(world, rng, seconds):
    with contextlib.suppress(OSError, psycopg2.Error, *kombu.Connection(world.broker.url).connection_errors):
        replayer.repeat_events(world.broker.url, world.stack, 2, rng)
    results = replayer.sent_results(world.stack)[-60:] * 2
    rng.shuffle(results)

    def post(each):
        with contextlib.suppress(OSError):
            replayer.post_result(world.stack, *each)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(post, results))


def kill_a_backend(world: World, rng: random.Random) -> int:
    """Ends one random connection to our database. Returns 1 if there was one."""
    pids = world.stack.sql(
        "SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()", world.stack.name
    )
    return int(world.stack.sql("SELECT pg_terminate_backend(%s)", rng.choice(pids)[0])[0][0]) if pids else 0


def heal_everything(world: World) -> None:
    """Whatever a fault may have left: servers up, nothing frozen, no network fault."""
    for proxy in world.proxies:
        proxy.heal()
    for name in list(world.stack.processes):
        world.thaw(name)
    with contextlib.suppress(ProcessLookupError):
        world.broker.thaw()
    if world.postgres.is_down():
        world.postgres.start()
    if world.broker.process.poll() is not None:
        world.broker.start()
    wait_for(world.broker.answers, 60, "RabbitMQ answers")
