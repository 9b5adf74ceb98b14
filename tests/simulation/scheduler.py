"""Many processes in one thread: each step of each is a point at which any other may go on, freeze or die. By a seed."""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import greenlet


class Dead(BaseException):
    """kill -9. No BaseException of the product: whatever it does on its way out meets a process that is not there."""


class StuckError(AssertionError):
    """Everybody waits for ever, or the world would not come to rest."""


class Process:
    """A program that is started again whenever it dies. `skew`: how wrong its wall clock is, in seconds."""

    def __init__(self, scheduler: "Scheduler", name: str, main: Callable[["Process"], None]) -> None:
        self.scheduler, self.name, self.main = scheduler, name, main
        self.skew = 0.0
        self.wake_at = 0.0
        # SIGSTOP: not even what it waits for wakes it before.
        self.frozen_until = 0.0
        self._freeze: tuple[int, float] | None = None
        self.until: Callable[[], bool] | None = None
        self.dead = False
        # What lives and dies with the process: database session, connections, publishers.
        self.belongings: dict[str, Any] = {}
        self.lives = 0
        self._start()

    def _start(self) -> None:
        self.dead, self.until, self.belongings = False, None, {}
        self.lives += 1
        self.greenlet = greenlet.greenlet(self._run)

    def _run(self) -> None:
        with contextlib.suppress(Dead, SystemExit):
            self.main(self)

    def kill(self) -> None:
        """kill -9; its supervisor starts it again after a moment."""
        self.dead = True
        if self.greenlet:
            self.scheduler.enter(self, Dead)
        self.restart()

    def stop(self) -> None:
        """SIGTERM: it may put things in order, step by step like all else it does."""
        if self.greenlet:
            self.scheduler.enter(self, SystemExit)
            if self.greenlet.dead:
                self.restart()

    def freeze(self, seconds: float, after_steps: int) -> None:
        """At once, or in the middle of what it does next: most of the time it sleeps."""
        self._freeze = (after_steps, seconds)
        if not after_steps:
            self.count_down()

    def count_down(self) -> None:
        """Called at each of its steps."""
        if self._freeze is None:
            return
        steps, seconds = self._freeze
        self._freeze = (steps - 1, seconds)
        if steps <= 0:
            self._freeze, self.frozen_until = None, self.scheduler.now + seconds

    def restart(self) -> None:
        """What it had is gone with it."""
        for belonging in list(self.belongings.values()):
            belonging.vanish()
        self._start()
        self.frozen_until, self._freeze = 0.0, None
        self.wake_at = self.scheduler.now + self.scheduler.random.uniform(0.1, 3.0)


class Scheduler:
    """Time, chance, and whose turn it is. Time passes only between steps."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.processes: list[Process] = []
        self.current: Process | None = None
        self.trace: list[str | tuple[float, str, int]] = []
        self._hub = greenlet.getcurrent()

    # --- called by what runs in a process

    def step(self, what: str) -> Process:
        """A point at which others may go on. `what` is for the trace."""
        process = self.current
        assert process is not None
        if process.dead:
            raise Dead
        self.trace.append(what)
        process.count_down()
        self._hub.switch()
        return process

    def sleep(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Until the time is up, or `until` holds; says whether it does."""
        process = self.current
        assert process is not None
        if process.dead:
            raise Dead
        process.wake_at, process.until = self.now + seconds, until
        self._hub.switch()
        process.until = None
        return until is not None and until()

    # --- called by whoever drives the world

    def enter(self, process: Process, error: type[BaseException] | None = None) -> None:
        """Lets a process go on until its next step."""
        self.current = process
        if error is None:
            process.greenlet.switch()
        elif process.greenlet:
            process.greenlet.throw(error)
        self.current = None

    def _ready(self) -> list[Process]:
        """Whose sleep is over, or who has got what it waits for."""
        now = self.now
        return [
            process
            for process in self.processes
            if process.frozen_until <= now
            and (process.wake_at <= now or (process.until is not None and process.until()))
        ]

    def turn(self) -> None:
        """One step of somebody who can go on; when all sleep, time passes until one of them wakes."""
        self.steps += 1
        self.now += self.random.random() * 0.004
        ready = self._ready()
        if not ready:
            self.now = min(max(process.wake_at, process.frozen_until) for process in self.processes)
            ready = self._ready()
        process = ready[int(self.random.random() * len(ready))]
        self.trace.append((self.now, process.name, process.lives))
        self.enter(process)
        if process.greenlet.dead:
            process.restart()
