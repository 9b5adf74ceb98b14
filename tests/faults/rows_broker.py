"""F12 to F20: a RabbitMQ that stops, dies, freezes, fills up, forgets, refuses."""

import time

import kombu

from tests.faults.row import Run, row

QUEUE = "consumer.transactions.v1"


def _readyz_says(run: Run, check: str = "broker") -> None:
    """I9: the fault shows within 15 s."""
    try:
        run.note(visible_s=run.world.visible(check))
    except AssertionError as error:
        run.check(False, str(error))


@row("F12", "RabbitMQ stopped and started in good order")
def broker_stopped(run):
    world = run.world
    world.broker.ctl("stop_app")
    _readyz_says(run)
    world.burst(100)
    time.sleep(3)
    world.broker.ctl("start_app")


@row("F13", "RabbitMQ killed with -9, five times", recovery=60)
def broker_killed(run):
    world = run.world
    for number in range(5):
        world.broker.kill()
        if number == 0:
            _readyz_says(run)
        world.burst(50)
        time.sleep(run.random.uniform(0, 2))
        world.broker.start()
        time.sleep(run.random.uniform(0.5, 3))


@row("F13q", "RabbitMQ killed with -9, once", recovery=60, quick=True)
def broker_killed_once(run):
    run.world.broker.kill()
    run.world.burst(100)
    run.world.broker.start()


@row("F14", "RabbitMQ frozen", recovery=60)
def broker_frozen(run):
    world = run.world
    world.broker.freeze()
    try:
        _readyz_says(run)
        slowest = _slowest_while(run, 6)
        # No call of the API waits for the broker.
        run.note(slowest_answer_while_frozen_ms=slowest)
        run.check(slowest < 5000, f"an answer took {slowest} ms while the broker was frozen")
    finally:
        world.broker.thaw()


def _slowest_while(run: Run, seconds: float) -> int:
    before = len(run.world.answers())
    time.sleep(seconds)
    return max((entry["ms"] for entry in run.world.answers()[before:]), default=0)


def _alarm(run: Run, on: list[str], off: list[str]) -> None:
    world = run.world
    attempts = "SELECT coalesce(max(attempts), 0) FROM outbox_outboxmessage"
    world.broker.ctl(*on)
    try:
        _readyz_says(run)
        slowest = _slowest_while(run, 6)
        run.check(slowest < 5000, f"an answer took {slowest} ms during the alarm")
        run.note(max_attempts=world.stack.sql(attempts)[0][0])
        # What was claimed when the alarm came is handed back, and counts no attempt.
        run.check(run.notes["max_attempts"] <= 3, "the alarm used up attempts")
    finally:
        world.broker.ctl(*off)


@row("F15", "RabbitMQ's memory alarm", recovery=60)
def memory_alarm(run):
    _alarm(run, ["set_vm_memory_high_watermark", "0"], ["set_vm_memory_high_watermark", "0.4"])


@row("F16", "RabbitMQ's disk alarm", recovery=60)
def disk_alarm(run):
    _alarm(run, ["set_disk_free_limit", "100000GB"], ["set_disk_free_limit", "50MB"])


@row("F17", "All of RabbitMQ's connections closed, again and again", recovery=60, quick=True)
def connections_closed(run):
    for _ in range(4):
        run.world.broker.ctl("close_all_connections", "fault")
        run.world.burst(60)
        time.sleep(1.5)


@row("F18", "Binding, queue and exchange deleted", recovery=90, RESULT_DEADLINE_SECONDS="8")
def topology_deleted(run):
    """What the deleted queue held is gone from the broker; the overdue sweep asks again."""
    world = run.world
    for what in ("binding", "queue", "exchange"):
        with kombu.Connection(world.broker.url) as connection, connection.channel() as channel:
            if what == "binding":
                channel.queue_unbind(QUEUE, "transactions", "transaction.#")
            elif what == "queue":
                channel.queue_delete(QUEUE)
            else:
                channel.exchange_delete("transactions")
        world.burst(80)
        time.sleep(3)


@row("F19", "The queue is full and refuses", recovery=60)
def queue_full(run):
    world = run.world
    world.freeze("consumer-worker")
    world.broker.ctl("set_policy", "full", QUEUE, '{"max-length": 50}', "--apply-to", "queues")
    try:
        world.burst(200)
        _readyz_says(run)
        time.sleep(2)
    finally:
        world.broker.ctl("clear_policy", "full")
        world.thaw("consumer-worker")


@row("F20", "Wrong password, then the right one", proxied=("broker",), recovery=60)
def wrong_password(run):
    world = run.world
    world.broker.ctl("change_password", "guest", "other")
    world.broker.ctl("close_all_connections", "fault")
    try:
        _readyz_says(run)
        before = world.broker_proxy.accepted
        time.sleep(6)
        # By the connections that came, of all six processes; what is logged of them is thinned out. Celery restarts a
        # worker's consumer up to six times a second, and there are two workers; a hot loop makes hundreds.
        tries = (world.broker_proxy.accepted - before) / 6
        run.note(tries_per_second=round(tries, 1))
        run.check(tries > 0, "nobody tried again")
        run.check(tries <= 20, f"a hot loop: {tries} tries a second")
    finally:
        world.broker.ctl("change_password", "guest", "guest")
