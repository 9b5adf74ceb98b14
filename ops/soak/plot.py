"""Draws var/soak: memory, connections, latency and tables over time, fault windows shaded. Needs matplotlib."""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "var/soak")
    samples = [json.loads(line) for line in (folder / "samples.jsonl").open()]
    windows = json.loads((folder / "windows.json").read_text())
    answers = [json.loads(line) for line in (folder / "clients.jsonl").open()]
    start = samples[0]["at"]
    minutes = [(each["at"] - start) / 60 for each in samples]
    names = sorted({name for each in samples for name in each["processes"]})

    figure, axes = plt.subplots(3, 2, figsize=(14, 12), sharex=True, constrained_layout=True)
    (memory, threads), (connections, flight), (latency, tables) = axes
    for name in names:
        memory.plot(minutes, [each["processes"].get(name, {}).get("rss_kb", 0) / 1024 for each in samples], label=name)
        threads.plot(minutes, [each["processes"].get(name, {}).get("threads", 0) for each in samples], label=name)
    connections.plot(minutes, [sum(each["connections"].values()) for each in samples], color="black")
    flight.plot(minutes, [each["in_flight"] for each in samples], color="black")
    told = [((each["at"] - start) / 60, each["ms"]) for each in answers if each.get("status") == 201]
    latency.plot([at for at, _ in told], [ms for _, ms in told], ".", markersize=1, color="black")
    latency.set_yscale("log")
    for name in samples[0]["tables"]:
        size = [(each["tables"][name]["table"] + each["tables"][name]["indexes"]) / 2**20 for each in samples]
        tables.plot(minutes, size, label=name)
    titles = {
        memory: "Memory of each process group (MB)",
        threads: "Threads",
        connections: "Connections to PostgreSQL",
        flight: "Transactions on their way",
        latency: "Time to the 201 (ms)",
        tables: "Tables with indexes (MB)",
    }
    for axis, title in titles.items():
        axis.set_title(title)
        if axis is not latency:
            axis.set_ylim(bottom=0)
        for window in windows:
            axis.axvspan((window["from"] - start) / 60, (window["healed"] - start) / 60, color="red", alpha=0.15, lw=0)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("minutes; red: a fault")
    figure.savefig(folder / "soak.png", dpi=90)
    print(folder / "soak.png")


if __name__ == "__main__":
    main()
