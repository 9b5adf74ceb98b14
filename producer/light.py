"""One light of the dashboard, and what all of them look at."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from outbox import stats
from outbox.heartbeat import measure_clock

Level = Literal["ok", "warn", "bad"]


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
    """What the lights have in common, each asked for once."""

    @cached_property
    def clock(self) -> tuple[datetime, float, float]:
        """The database's time, how far ours is ahead of it, and what asking took (seconds)."""
        return measure_clock()

    @property
    def now(self) -> datetime:
        """The database's time."""
        return self.clock[0]

    @cached_property
    def processes(self) -> list[stats.ProcessStats]:
        """Who spoke within the last hour."""
        return stats.process_stats(self.now)

    @cached_property
    def alive(self) -> list[stats.ProcessStats]:
        """Who spoke lately."""
        return [process for process in self.processes if process.alive]


def level(value: float, warn: float, bad: float) -> Level:
    """Green below `warn`, red from `bad` on."""
    return "bad" if value >= bad else "warn" if value >= warn else "ok"
