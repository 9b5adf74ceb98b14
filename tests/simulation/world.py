"""One world by its seed: a few transactions, two relays, two workers, the Consumer, and what goes wrong between them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from outbox import relay
from outbox.amqp import AmqpPublisher
from outbox.ids import _from_ticks as uuid_of
from tests.simulation import invariants
from tests.simulation.broker import Broker
from tests.simulation.consumer import Consumer, Told
from tests.simulation.database import EPOCH, Database
from tests.simulation.faults import Faults
from tests.simulation.scheduler import Process, Scheduler, StuckError
from tests.simulation.sql import Transactions
from webhooks import receiving, services
from webhooks.fallback import WebhookPublisher
from webhooks.signing import Verified

# Steps with faults; then they stop, and the world must come to rest within so many steps and seconds of its time.
TRACE = int(os.environ.get("TRACE", "40"))
FAULTY_STEPS, REST_STEPS, REST_SECONDS = 120, 6000, 900.0
# The clock that finds what no wake-up told of.
TICK_SECONDS = (2.0, 8.0)
_TICKS = int(EPOCH.timestamp()) * 1000 * 4096


class World:
    """Everything of one schedule."""

    current: "World"

    def __init__(self, seed: int, kinds: Sequence[str] = ()) -> None:
        World.current = self
        self.seed = seed
        self.scheduler = Scheduler(seed)
        self.random = self.scheduler.random
        self.database = Database(self.scheduler)
        self.broker = Broker(self.scheduler)
        self.events: dict[UUID, Told] = {}
        self.committed_events: set[UUID] = set()
        self.consumer = Consumer(self.scheduler, self.events.__getitem__)
        self.watch = invariants.Watch(self)
        self.database.on_commit = self._committed
        self.broker.accepted = self.watch.arrival
        self.broker.refused = self.watch.refusal
        # How often a process was killed, frozen or stopped: each may cost the events in its hands an attempt.
        self.losses = 0
        self.answering = "ok"
        self._idents = 0
        # Rows that were ever committed: what NOTIFY and the nudge tell, when they are not lost.
        self.news = {"outbox": 0, "inbox": 0}
        chance = self.random
        self.plans = [self._plan() for _ in range(chance.choice((1, 2, 2, 3)))]
        self.limits = (1, 2, 50)
        self.processes = [
            Process(self.scheduler, name, main)
            for name, main in (
                ("client", self._client),
                ("relay-a", self._relay),
                ("relay-b", self._relay),
                ("consumer", self._consumer),
                ("web", self._web),
                ("worker-a", self._worker),
                ("worker-b", self._worker),
            )
        ]
        self.scheduler.processes = self.processes
        self.faults = Faults(self, kinds)
        self.scheduler.trace.append(f"kinds {self.faults.kinds} plans {[plan.steps for plan in self.plans]}")

    def _plan(self) -> SimpleNamespace:
        steps = ["created", *["updated"] * self.random.choice((0, 0, 1, 2, 3))]
        if self.random.random() < 0.2:
            steps.append("canceled")
        return SimpleNamespace(id=self._ident(), steps=steps, done=False)

    def _ident(self) -> UUID:
        self._idents += 1
        return uuid_of(_TICKS + self._idents, self._idents)

    def _committed(self, table: str, before: Any, after: Any) -> None:
        if before is None and table in self.news:
            self.news[table] += 1
            if table == "outbox":
                self.committed_events.add(after["id"])
        self.watch.commit(table, before, after)

    # --- the run

    def run(self) -> None:
        """Faults, then rest. Raises Broken or StuckError."""
        try:
            for _ in range(FAULTY_STEPS):
                self._turn()
                self.faults.maybe()
            self.faults.heal()
            until = self.scheduler.now + REST_SECONDS
            for step in range(REST_STEPS):
                if step % 16 == 0 and self._at_rest():
                    self.watch.end()
                    return
                if self.scheduler.now > until:
                    break
                self._turn()
            raise StuckError(f"stuck: {self._waiting()}")
        finally:
            for process in self.processes:
                process.dead = True
                if process.greenlet:
                    self.scheduler.enter(process, SystemExit)

    def _turn(self) -> None:
        self.scheduler.turn()
        if self.watch.broken is not None:
            raise self.watch.broken
        if self.broker.connections and self.random.random() < 0.5:
            self.broker.work()

    def _at_rest(self) -> bool:
        return not self._waiting()

    def _waiting(self) -> list[str]:
        waiting = [f"plan {plan.steps}" for plan in self.plans if not plan.done]
        waiting += [
            f"event {row['sequence']} {row['state']} {row['error']}"
            for row in self.database.rows("outbox")
            if row["state"] != "published"
        ]
        waiting += [f"result {result.webhook_id} not taken" for result in self.consumer.waiting()]
        waiting += [f"{len(self.broker.queue)} messages"] * bool(self.broker.queue)
        waiting += [
            f"inbox {row['webhook_id']} {row['state']} {row['reason']}"
            for row in self.database.rows("inbox")
            if row["state"] in {"received", "failed", "unmatched"}
        ]
        return waiting

    # --- the processes

    def _client(self, process: Process) -> None:
        """Creates, changes and cancels; asks what became of it when it does not know."""
        atomic = Transactions(lambda: self.database).atomic
        while True:
            self.scheduler.sleep(self.random.uniform(0.0, 2.0))
            open_plans = [plan for plan in self.plans if not plan.done]
            if not open_plans:
                self.scheduler.sleep(3600.0)
                continue
            plan = self.random.choice(open_plans)
            try:
                with atomic():
                    plan_done = self._next_change(plan)
                    if self.random.random() < 0.2:
                        # A transaction that commits late: others take theirs in between.
                        self.scheduler.sleep(self.random.choice((0.01, 1.0, 8.0)))
                plan.done = plan_done
            except (DatabaseError, InterfaceError):
                self.scheduler.sleep(0.5)

    def _next_change(self, plan: Any) -> bool:
        database = self.database
        session = database.statement("client locks")
        found = database.select("txn", lambda row: row["id"] == plan.id, session)
        version, status = 0, "pending"
        if found:
            values = database.lock(found[0][0], session)
            version, status = values["version"], values["status"]
        if version == len(plan.steps) or status != "pending":
            return True
        step, version = plan.steps[version], version + 1
        database.statement("client writes")
        now = database.clock()
        if found:
            status = "canceled" if step == "canceled" else "pending"
            changed = {**values, "version": version, "status": status}
            database.write(found[0][0], {**changed, "updated_at": now}, session)
        else:
            row = {"id": plan.id, "status": "pending", "version": 1, "updated_at": now, "overdue": False}
            database.insert("txn", row, session)
        database.statement("client tells")
        event = Told(self._ident(), plan.id, version, step == "canceled")
        self.events[event.id] = event
        database.insert("outbox", self._event_row(event, step), session)
        return version == len(plan.steps)

    def _event_row(self, event: Told, step: str) -> dict[str, Any]:
        now = self.database.clock()
        return {
            "id": event.id, "topic": "transactions", "type": f"transaction.{step}", "key": str(event.transaction_id),
            "sequence": event.version, "body": "{}", "attempts": 0, "created_at": now, "due_at": now, "lease_token": None,
            "error": "", "state": "pending", "parked": False, "discarded": False, "claimed_by": "", "channel": "",
            "published_at": None, "confirm_ms": None,
        }  # fmt: skip

    def _relay(self, process: Process) -> None:
        """As manage.py relay does it."""
        horizon = relay.Horizon()
        limit = self.random.choice(self.limits)
        process.belongings["publishers"] = Publishers()
        while True:
            more = False
            try:
                more = relay.run_once(limit=limit, relay=process.name, horizon=horizon).more
            except (DatabaseError, InterfaceError):
                self.scheduler.sleep(1.0)
            if not more:
                self._wait_for_news("outbox")

    def _consumer(self, process: Process) -> None:
        """Takes from the broker; a message that it did not acknowledge comes again."""
        while True:
            self.scheduler.sleep(self.random.choice((0.0, 1.0)), None)
            self.scheduler.sleep(5.0, lambda: bool(self.broker.queue) and self.broker.up)
            if self.broker.queue and self.broker.up:
                self.consumer.process(self.broker.queue[0])
                self.scheduler.step("consumer acks")
                if self.broker.queue and self.broker.up and self.random.random() > self.faults.redelivery:
                    self.broker.queue.popleft()

    def _web(self, process: Process) -> None:
        """The result webhook, with the Consumer that calls it: in any order, again when the answer is lost."""
        while True:
            self.scheduler.sleep(4.0, lambda: bool(self.consumer.waiting()))
            results = self.consumer.waiting()
            if self.faults.replay and self.random.random() < self.faults.replay:
                results = self.consumer.results
            if not results:
                continue
            result = self.random.choice(results)
            try:
                receiving.receive(Verified(result.webhook_id, 0, "key"), result.body, door="webhook")
            except (DatabaseError, InterfaceError):
                self.scheduler.sleep(1.0)
                continue
            if self.random.random() > self.faults.lost_answers:
                result.taken = True

    def _wait_for_news(self, table: str) -> None:
        """Until the wake-up, which may be lost, or the next tick."""
        known = self.news[table]
        lost = self.random.random() < 0.1
        self.scheduler.sleep(self.random.choice(TICK_SECONDS), None if lost else lambda: self.news[table] > known)

    def _worker(self, process: Process) -> None:
        """A Celery worker, woken or by the sweep."""
        limit = self.random.choice(self.limits)
        while True:
            try:
                services.apply_due(budget_seconds=20.0, limit=limit)
            except (DatabaseError, InterfaceError):
                self.scheduler.sleep(1.0)
            self._wait_for_news("inbox")


class Publishers:
    """A relay process's channels."""

    def __init__(self) -> None:
        self.all = (AmqpPublisher("amqp://simulated"), WebhookPublisher())

    def vanish(self) -> None:
        """The process is gone: the kernel closes its sockets."""
        for publisher in self.all:
            connection = getattr(publisher, "_connection", None)
            if connection is not None:
                connection.vanish()


@contextmanager
def told(world: World) -> Iterator[None]:
    """Adds to whatever goes wrong how to see it again."""
    try:
        yield
    except BaseException as error:
        steps = world.scheduler.trace[-TRACE:]
        trace = "\n".join(
            f"{step[0]:9.3f} {step[1]}.{step[2]}" if isinstance(step, tuple) else f"\t{step}" for step in steps
        )
        error.add_note(
            f"SEED={world.seed} pytest tests/simulation/test_simulation.py -k replay\nThe last steps:\n{trace}"
        )
        raise
