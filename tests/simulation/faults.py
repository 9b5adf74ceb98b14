"""What goes wrong, when: each world draws which kinds of faults it has at all, then each step may bring one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World

KINDS = (
    "kill", "freeze", "stop", "broker down", "broker alarm", "broker frozen", "queue full", "queue deleted", "no route", "cut",
    "webhook", "database away", "database cut", "commit unknown", "database clock", "process clock", "duplicates",
)  # fmt: skip
WEBHOOK_ANSWERS = ("down", "500", "503", "302", "401", "404", "422", "timeout", "lost", "410", "flaky")
# Longer than the lease, so that what a frozen process holds is in other hands when it thaws.
FREEZE_SECONDS = (0.5, 4.0, 14.0, 25.0)
CLOCK_STEPS = (-40.0, -3.0, 3.0, 15.0, 40.0)
CLOCK_SKEWS = (0.0, 86400.0, -86400.0)


class Faults:
    """A world with every kind at once hides what two of them do together: most have three or four."""

    def __init__(self, world: "World", kinds: Sequence[str] = ()) -> None:
        self.world, self.random = world, world.random
        self.kinds = list(kinds) or self.random.sample(KINDS, self.random.choice((0, 1, 2, 3, 4, 6)))
        self.rate = self.random.choice((0.03, 0.08, 0.15))
        self.redelivery = self.lost_answers = self.replay = 0.0
        if "duplicates" in self.kinds:
            self.redelivery, self.lost_answers, self.replay = 0.3, 0.3, 0.3
        if "database cut" in self.kinds:
            world.database.cut = self.random.choice((0.01, 0.05))
        if "commit unknown" in self.kinds:
            world.database.commit_unknown = self.random.choice((0.05, 0.2))
        if "process clock" in self.kinds:
            for process in world.processes:
                process.skew = self.random.choice(CLOCK_SKEWS)

    def maybe(self) -> None:
        """One of this world's faults, or none."""
        if self.kinds and self.random.random() < self.rate:
            kind = self.random.choice(self.kinds)
            self.world.scheduler.trace.append(f"--- {kind}")
            getattr(self, "_" + kind.replace(" ", "_"), lambda: None)()

    def heal(self) -> None:
        """The faults stop. Clocks stay as wrong as they are; an operator enables what answered 410."""
        world, broker = self.world, self.world.broker
        world.scheduler.trace.append("--- healed")
        broker.up, broker.alarm, broker.frozen, broker.full, broker.unroutable = True, False, False, False, False
        for link in list(broker.connections):
            if link.blocked:
                link.cut()
        world.database.away, world.database.cut, world.database.commit_unknown = False, 0.0, 0.0
        world.answering = "ok"
        self.redelivery = self.lost_answers = self.replay = 0.0
        for row in world.database.tables["channel"]:
            if row.committed is not None and row.committed["disabled"]:
                row.committed = {**row.committed, "disabled": False, "failing_since": None, "retry_at": None}

    # --- the kinds

    def _kill(self) -> None:
        self.world.losses += 1
        self.random.choice(self.world.processes).kill()

    def _stop(self) -> None:
        self.world.losses += 1
        self.random.choice(self.world.processes).stop()

    def _freeze(self) -> None:
        self.world.losses += 1
        process = self.random.choice(self.world.processes)
        process.freeze(self.random.choice(FREEZE_SECONDS), after_steps=self.random.choice((0, 0, 1, 2, 3, 4, 6, 9)))

    def _broker_down(self) -> None:
        if self.world.broker.up:
            self.world.broker.crash()
        else:
            self.world.broker.up = True

    def _broker_alarm(self) -> None:
        broker = self.world.broker
        broker.alarm = not broker.alarm
        if not broker.alarm:
            for link in list(broker.connections):
                if link.blocked:
                    link.blocked = False
                    link.options.get("on_unblocked", lambda: None)()

    def _broker_frozen(self) -> None:
        self.world.broker.frozen = not self.world.broker.frozen

    def _queue_full(self) -> None:
        self.world.broker.full = not self.world.broker.full

    def _queue_deleted(self) -> None:
        self.world.broker.routed = False

    def _no_route(self) -> None:
        self.world.broker.unroutable = not self.world.broker.unroutable

    def _cut(self) -> None:
        if self.world.broker.connections:
            self.random.choice(self.world.broker.connections).cut()

    def _webhook(self) -> None:
        if self.world.broker.up and self.random.random() < 0.5:
            # Nobody uses the webhook while the broker works.
            self.world.broker.crash()
        self.world.answering = self.random.choice((*WEBHOOK_ANSWERS, "ok", "ok"))

    def _database_away(self) -> None:
        database = self.world.database
        database.away = not database.away
        database.faults += 1
        if database.away:
            for process in self.world.processes:
                session = process.belongings.get("session")
                if session is not None:
                    database.roll_back(session)

    def _database_clock(self) -> None:
        self.world.losses += 1
        self.world.database.offset += self.random.choice(CLOCK_STEPS)
