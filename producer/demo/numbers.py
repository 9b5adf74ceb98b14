"""Percentiles for the summaries, and times as the API writes them."""

import math
from collections.abc import Sequence
from datetime import datetime


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: a value that really occurred. 0.0 for no values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
