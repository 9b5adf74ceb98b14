"""When a failed delivery is tried again. Pure."""

import random
from collections.abc import Sequence

# A Retry-After beyond this is not waited for: the Producer asks for seconds, and a mistake must not park a result.
MAX_RETRY_AFTER_SECONDS = 600.0


def pause_seconds(failed_rounds: int, schedule: Sequence[int], retry_after: float | None) -> float | None:
    """Seconds until the next round after `failed_rounds` (1 or more) of them; None when the schedule is used up.

    ±20 % jitter, so that results which failed together do not come back together. Retry-After only lengthens.
    """
    if failed_rounds > len(schedule):
        return None
    pause = schedule[failed_rounds - 1] * random.uniform(0.8, 1.2)
    return max(pause, min(retry_after or 0.0, MAX_RETRY_AFTER_SECONDS))
