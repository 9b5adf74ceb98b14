"""Writes what var/faults holds into docs/reliability.md, between its markers: python -m tests.faults.table."""

import json
from pathlib import Path

from tests.faults.row import ROWS
from tests.faults.run import MODULES, OUT, ROOT

assert MODULES, "the rows are registered by their modules"
DOCS = ROOT / "docs" / "reliability.md"
ZEROS = ("lost", "double", "out_of_order", "stuck")
# Said beside the figures, so that nobody takes a part for the whole.
REMARKS = {
    "F20": "password only; the virtual host is the same code path",
    "F22": "14 s for the broker, 7 s for the database",
    "F30": "a tmpfs of 320 MB",
    "F37": "20 s instead of 10 minutes; deadline 6 s",
    "F38": "no TLS on this machine: a bad certificate is a unit test (`tests/webhooks/test_fallback.py`)",
    "F40": "rolling restart and `migrate` under load; two versions of the code side by side are not run",
}


def newest(path: Path) -> dict[str, dict]:
    """The last line of each row."""
    return {line["fault"]: line for line in map(json.loads, path.open())} if path.exists() else {}


def matrix() -> str:
    seeds = {path.stem.rpartition("-")[2]: newest(path) for path in sorted(OUT.glob("seed-*.jsonl"))}
    head = "| | fault | " + " | ".join(
        f"seed {seed}: sent, lost/double/disorder/stuck, copies, recovery" for seed in seeds
    )
    lines = [head + " |", "|---|---|" + "---|" * len(seeds)]
    for number in sorted(name for name in ROWS if not name[-1].isalpha()):
        remark = f" ({REMARKS[number]})" if number in REMARKS else ""
        cells = [_cell(found.get(number)) for found in seeds.values()]
        lines.append(f"| {number} | {ROWS[number].title}{remark} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"Seed {seed}: {_commits(found)}." for seed, found in seeds.items())])


def _commits(found: dict[str, dict]) -> str:
    """Which code each row judged: the table is gathered over hours."""
    rows: dict[str, list[str]] = {}
    for number, line in sorted(found.items()):
        rows.setdefault(line.get("commit", "an unknown commit"), []).append(number)
    return "; ".join(f"{commit} ({', '.join(numbers)})" for commit, numbers in rows.items())


def _cell(line: dict | None) -> str:
    if line is None:
        return "not run"
    if "sent" not in line:
        return "failed"
    zeros = "/".join(str(line[name]) for name in ZEROS)
    return f"{line['sent']}, {zeros}, {line['wire_dups']}, {line['recovery_s']} s" + ("" if line["ok"] else " **red**")


def nemesis() -> str:
    path = OUT / "nemesis.jsonl"
    lines = [
        "| seed | minutes | rounds | sent | lost/double/disorder/stuck | copies | left, drained in | a core was waited for | of |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in map(json.loads, path.open()) if path.exists() else ():
        if "sent" in line:
            zeros = "/".join(str(line[name]) for name in ZEROS)
            lines.append(
                f"| {line['seed']} | {line['minutes']:g} | {line['rounds']} | {line['sent']} | {zeros} "
                f"| {line['wire_dups']} | {line.get('left', '?')}, {line['recovery_s']} s{'' if line['ok'] else ' **red**'} "
                f"| {_share(line.get('cpu_stalled'))} | {line.get('commit', 'an unknown commit')} |"
            )
    return "\n".join(lines)


def _share(part: float | None) -> str:
    return "not measured" if part is None else f"{part:.0%} of the time"


def main() -> None:
    text = DOCS.read_text()
    for name, table in (("faults", matrix()), ("nemesis", nemesis())):
        before, _, rest = text.partition(f"<!-- {name} -->")
        _, _, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{table}\n<!-- /{name} -->{after}"
    DOCS.write_text(text)


if __name__ == "__main__":
    main()
