"""What a benchmark found: a line for people at once, JSON lines at the end."""

import json
import statistics

LINES: list[dict[str, object]] = []


def head() -> None:
    print(f"{'':<46} {'ours':>9} {'other':>9} {'':<9} {'ratio':>6} {'spread':<13} wanted", flush=True)


def compare(name: str, ours: list[float], other: list[float], unit: str, *, want: str) -> None:
    """Ratios are taken round by round, which run one after the other; the spread is that of the ratios."""
    ratios = [mine / theirs for mine, theirs in zip(ours, other, strict=True)]
    mine, theirs, ratio = statistics.median(ours), statistics.median(other), statistics.median(ratios)
    digits = 0 if mine >= 1000 else 1 if mine >= 10 else 4
    spread = f"[{min(ratios):.2f}-{max(ratios):.2f}]"
    print(
        f"{name:<46} {mine:>9.{digits}f} {theirs:>9.{digits}f} {unit:<9} {ratio:>6.2f} {spread:<13} {want}", flush=True
    )
    LINES.append(
        {
            "bench": f"relay.{name}",
            "ours": round(mine, 6),
            "other": round(theirs, 6),
            "ratio": round(ratio, 3),
            "low": round(min(ratios), 3),
            "high": round(max(ratios), 3),
            "unit": unit,
            "want": want,
        }
    )


def json_lines() -> None:
    for line in LINES:
        print(json.dumps(line))
