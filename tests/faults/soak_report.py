"""Numbers of a soak: rate, latencies outside fault windows, slopes. Pure; the plots are ops/soak/plot.py."""

from collections.abc import Sequence
from statistics import median

# After a fault has ended its backlog still passes; so long counts as its window (seconds).
AFTERMATH_SECONDS = 8.0
# Caches and pools fill at first: slopes are taken from here on (share of the run).
WARM_UP = 0.2


def percentile(values: Sequence[float], share: float) -> float | None:
    """Nearest rank; None without values."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3) if ordered else None


def slope_per_hour(points: Sequence[tuple[float, float]]) -> float | None:
    """Least squares through (seconds, value), as a share of the median per hour, in per cent."""
    if len(points) < 3:
        return None
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    middle = median(y for _, y in points)
    if not spread or not middle:
        return 0.0
    rise = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return round(rise * 3600 / middle * 100, 1)


def report(
    *, samples: list[dict], windows: list[dict], answers: list[tuple], lifetimes: list[tuple], span: tuple
) -> dict:
    def calm(at: float, lasts: float = 0.0) -> bool:
        return span[0] <= at <= span[1] and not any(
            window["from"] - 1 < at + lasts and at < window["healed"] + AFTERMATH_SECONDS for window in windows
        )

    submits = [ms for at, ms, status in answers if status == 201 and calm(at)]
    # By the start alone: one that began in calm and met a fault would else drop out of the figures.
    through = [seconds for created, seconds in lifetimes if calm(created)]
    first = span[0] + (span[1] - span[0]) * WARM_UP
    steady = [each for each in samples if first <= each["at"] <= span[1]]
    names = sorted({name for each in steady for name in each["processes"]})

    def series(read) -> list[tuple[float, float]]:
        return [(each["at"], float(value)) for each in steady if (value := read(each)) is not None]

    def of_process(name: str, what: str):
        return lambda each: each["processes"].get(name, {}).get(what) or None

    ended = [each for each in samples if span[0] <= each["at"] <= span[1]]
    rate = None
    if len(ended) > 1:
        rate = round((ended[-1]["ended"] - ended[0]["ended"]) / (ended[-1]["at"] - ended[0]["at"]), 1)
    return {
        "rate_sustained_per_s": rate,
        "calm_share": round(sum(calm(each["at"]) for each in samples) / max(1, len(samples)), 2),
        "submit_ms": {"p50": percentile(submits, 0.5), "p99": percentile(submits, 0.99), "n": len(submits)},
        "end_to_end_s": {"p50": percentile(through, 0.5), "p99": percentile(through, 0.99), "n": len(through)},
        "slopes_percent_per_hour": {
            "rss": {name: slope_per_hour(series(of_process(name, "rss_kb"))) for name in names},
            "threads": {name: slope_per_hour(series(of_process(name, "threads"))) for name in names},
            "files": {name: slope_per_hour(series(of_process(name, "files"))) for name in names},
            "connections": slope_per_hour(series(lambda each: sum(each["connections"].values()))),
        },
        "rss_mb": {
            name: round(median([value for _, value in series(of_process(name, "rss_kb"))] or [0]) / 1024)
            for name in names
        },
        "bytes_per_transaction": _bytes_per_transaction(ended),
        "working_indexes_kb": {
            name: [
                ended[0]["indexes"][name] // 1024,
                max(each["indexes"][name] for each in ended) // 1024,
                size // 1024,
            ]
            for name, size in (ended[-1]["indexes"].items() if ended else ())
        },
    }


def _bytes_per_transaction(samples: list[dict]) -> dict:
    """What a transaction leaves behind in each table with its indexes, in the first and the last quarter of the run."""
    if len(samples) < 8:
        return {}
    quarter = len(samples) // 4
    spans = {"first quarter": samples[: quarter + 1], "last quarter": samples[-quarter - 1 :]}
    found: dict = {}
    for name in samples[0]["tables"]:
        found[name] = {}
        for when, part in spans.items():
            grown = sum(part[-1]["tables"][name][what] - part[0]["tables"][name][what] for what in ("table", "indexes"))
            found[name][when] = round(grown / max(1, part[-1]["ended"] - part[0]["ended"]))
    return found
