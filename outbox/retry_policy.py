"""When to try again: pure arithmetic, with the randomness passed in where a test wants to know the answer."""

from __future__ import annotations

import math
import random as default_random
from collections.abc import Callable, Sequence

# Seconds after the 1st, 2nd … failed attempt, Standard Webhooks 1.0.0 "Retry schedule": 75 h 35 min 5 s in all. Shorter
# gives up on a Consumer that is down for a weekend.
WEBHOOK_SCHEDULE_SECONDS: tuple[int, ...] = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
# Part of the delay, to both sides. 0 sends everything that failed together again together.
WEBHOOK_JITTER = 0.2
# Doubling further than this changes nothing (any cap is reached) but would overflow a float.
_MAX_DOUBLINGS = 1_000


def backoff_seconds(
    attempts: int, *, base: float, cap: float, random: Callable[[], float] = default_random.random
) -> float:
    """Return the wait after `attempts` failed attempts: anywhere from 0 to min(cap, base · 2^(attempts - 1)) seconds.

    Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"); `random` gives [0, 1). Fewer than one attempt
    counts as one. Never raises for a large `attempts`.
    """
    try:
        ceiling = min(cap, math.ldexp(base, min(max(attempts, 1) - 1, _MAX_DOUBLINGS)))
    except OverflowError:
        ceiling = cap
    return random() * ceiling


def schedule_seconds(
    attempts: int,
    schedule: Sequence[float] = WEBHOOK_SCHEDULE_SECONDS,
    jitter: float = WEBHOOK_JITTER,
    *,
    random: Callable[[], float] = default_random.random,
) -> float:
    """Return the wait after `attempts` failed attempts: schedule[attempts - 1] seconds, ± `jitter` of it.

    Past its end the last entry repeats: whether to give up is the caller's to decide, by age. `random` gives [0, 1).
    Raises ValueError for an empty schedule or a jitter outside 0 to 1.
    """
    if not schedule:
        raise ValueError("a retry schedule needs at least one delay")
    if not 0 <= jitter <= 1:
        raise ValueError("jitter is a part of the delay, 0 to 1")
    delay = schedule[min(max(attempts, 1), len(schedule)) - 1]
    return delay * (1 + jitter * (2 * random() - 1))
