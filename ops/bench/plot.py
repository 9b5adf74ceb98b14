"""Draws the ratios of benchmark output beside what was wanted: python ops/bench/plot.py FILE.. PICTURE.png

FILE holds what the benchmarks printed; only their JSON lines are read. matplotlib comes into an environment of its own.
"""

import json
import os
import sys
from pathlib import Path

from private import peer_python


def read(paths: list[str]) -> list[dict]:
    lines = [line for path in paths for line in Path(path).read_text().splitlines() if line.startswith('{"bench"')]
    return [found for line in lines if (found := json.loads(line)).get("want", "")[:2] in {">=", "<=", "< "}]


def draw(found: list[dict], picture: str) -> None:
    """A ratio of 1 on the dashed line is exactly what was wanted, to its right is better; whiskers are the spread."""
    import matplotlib as mpl  # noqa: PLC0415 - only in its own environment

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(9, 0.42 * len(found) + 1.2))
    for place, line in enumerate(reversed(found)):
        sign, wanted = line["want"].split()
        low, middle, high = (line[name] / float(wanted) for name in ("low", "ratio", "high"))
        if sign != ">=":
            low, middle, high = 1 / high, 1 / middle, 1 / low
        axes.barh(place, middle, color="#2a7f62" if middle >= 1 else "#b4513d")
        axes.plot([low, high], [place, place], color="black", linewidth=1)
        axes.text(
            max(middle, high) * 1.03, place, f"{line['ratio']:g}  (wanted {line['want']})", va="center", fontsize=8
        )
    axes.axvline(1, color="black", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(found)), [line["bench"].removeprefix("relay.") for line in reversed(found)], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(
        0.3, max(6, *(3 * line["ratio"] / float(line["want"].split()[1]) for line in found if line["want"][0] == ">"))
    )
    axes.set_xlabel("how far past what was wanted (1 = just met)")
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


def main() -> None:
    *files, picture = sys.argv[1:]
    if (python := peer_python("plot", "matplotlib==3.10.*")) is None:
        return
    if not sys.executable.startswith(str(Path(python).parent)):
        os.execv(python, [python, *sys.argv])
    found = read(files)
    if not found:
        raise SystemExit("no figures to draw: let a benchmark write into one of the files first")
    draw(found, picture)
    print(f"drew {len(found)} figures into {picture}")


if __name__ == "__main__":
    main()
