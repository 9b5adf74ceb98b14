"""One light of the dashboard, and what all of them look at."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from outbox import stats as outbox
from outbox.heartbeat import measure_clock
from webhooks import stats as webhooks

Level = Literal["ok", "warn", "bad"]
Clock = tuple[datetime, float, float]


@dataclass(frozen=True, slots=True)
class Condition:
    """One light. `value` is the number or word behind it; `docs_anchor` is its section in docs/operations.md."""

    id: str
    level: Level
    title: str
    meaning: str
    remedy: str
    value: str
    docs_anchor: str


class Scene:
    """What the lights have in common, each asked for once. `clock` where it is known already."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock

    @cached_property
    def clock(self) -> Clock:
        """The database's time, how far ours is ahead of it, and what asking took (seconds)."""
        return self._clock or measure_clock()

    @property
    def now(self) -> datetime:
        """The database's time."""
        return self.clock[0]

    @cached_property
    def states(self) -> outbox.States:
        """Processes, queues and channels."""
        return outbox.states(self.now)

    @cached_property
    def results(self) -> webhooks.Backlog:
        """Results that wait, are stuck, or were refused."""
        return webhooks.backlog(self.now)

    @property
    def processes(self) -> list[outbox.ProcessStats]:
        """Who spoke within the last hour."""
        return self.states.processes

    @cached_property
    def alive(self) -> list[outbox.ProcessStats]:
        """Who spoke lately."""
        return [process for process in self.processes if process.alive]


def level(value: float, warn: float, bad: float) -> Level:
    """Green below `warn`, red from `bad` on."""
    return "bad" if value >= bad else "warn" if value >= warn else "ok"
