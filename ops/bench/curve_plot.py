"""Draws what curve.py printed: python ops/bench/curve_plot.py FILE PICTURE.png; matplotlib has an environment of its own."""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

from private import peer_python

COLOURS = ("#444444", "#2a7f62", "#b4513d", "#3b6ea5")


def read(path: str) -> dict[str, dict[str, list[dict]]]:
    """By part and by delay, in the order of processes."""
    found: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for line in Path(path).read_text().splitlines():
        if line.startswith('{"bench": "curve.'):
            point = json.loads(line)
            _, part, processes, delay = point["bench"].split(".", 3)
            found[part][delay].append({**point, "processes": int(processes)})
    return found


def draw(found: dict[str, dict[str, list[dict]]], picture: str) -> None:
    """A field for each part: measured as a line with dots, predicted as crosses."""
    import matplotlib as mpl  # noqa: PLC0415 - only in its own environment

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, fields = plt.subplots(1, len(found), figsize=(4.2 * len(found), 3.6), squeeze=False)
    for field, (part, delays) in zip(fields[0], found.items(), strict=True):
        for colour, (delay, points) in zip(COLOURS, delays.items(), strict=False):
            counts = [point["processes"] for point in points]
            label = "near the servers" if delay == "0ms" else f"{delay} away"
            field.plot(counts, [point["ours"] for point in points], "o-", color=colour, label=label)
            if delay != "0ms":
                predicted = [point["other"] for point in points]
                field.plot(counts, predicted, "x:", color=colour, label="predicted")
        field.set_title(f"{part}, {points[0]['unit']}")
        field.set_xticks(counts)
        field.set_xlabel("processes")
        field.set_ylim(0)
        field.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


def main() -> None:
    path, picture = sys.argv[1:]
    if (python := peer_python("plot", "matplotlib==3.10.*")) is None:
        return
    if not sys.executable.startswith(str(Path(python).parent)):
        os.execv(python, [python, *sys.argv])
    if not (found := read(path)):
        raise SystemExit("no figures to draw: let curve.py write into the file first")
    draw(found, picture)
    print(f"drew {', '.join(found)} into {picture}")


if __name__ == "__main__":
    main()
