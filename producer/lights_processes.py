"""Lights of what everything stands on: database, clocks, processes."""

from django.conf import settings

from outbox.stats import ProcessStats
from producer.light import Condition, Scene, level

# Seconds that one statement may take. Ours are small: above the first something is wrong, above the second all waits.
DATABASE_SLOW_SECONDS, DATABASE_BAD_SECONDS = 0.25, 1.0
# Seconds between two clocks; signatures hold for 300.
CLOCK_OFF_SECONDS, CLOCK_BAD_SECONDS = 5.0, 60.0

# A `results-worker` reads only the second door of results; a `worker` applies them, whatever else it reads.
KINDS = ("beat", "worker", "results-worker", "relay")


def database(scene: Scene) -> list[Condition]:
    _, offset, seconds = scene.clock
    processes = scene.alive
    slowest = max([seconds, *[process.database_seconds for process in processes]])
    off = max([offset, *[process.clock_offset_seconds for process in processes]], key=abs)
    whose = [process.name for process in processes if process.clock_offset_seconds == off] or ["this web process"]
    return [
        Condition(
            "database",
            level(slowest, DATABASE_SLOW_SECONDS, DATABASE_BAD_SECONDS),
            "Database",
            "One statement takes this long. Requests, relay and workers all wait for it several times each.",
            "Look for a full disk, a long transaction (pg_stat_activity), a busy machine, a slow network.",
            f"{slowest * 1000:.0f} ms a statement",
            "databaseslow",
        ),
        Condition(
            "clock",
            level(abs(off), CLOCK_OFF_SECONDS, CLOCK_BAD_SECONDS),
            "Clocks",
            f"The clock of {whose[0]} and the database's differ. Beyond {settings.WEBHOOK_TOLERANCE_SECONDS} s every "
            "signed result is refused, and so are our fallback POSTs.",
            "Start NTP on that machine (timedatectl) and on the database's. What was refused is sent again.",
            # No "-0.0".
            f"{round(off, 1) + 0.0:+.1f} s",
            "clockoff",
        ),
    ]


def processes(scene: Scene) -> list[Condition]:
    known = scene.processes
    alive = {kind: [p for p in known if p.kind == kind and p.alive] for kind in KINDS}
    silent = {kind: min([p.silent_seconds for p in known if p.kind == kind], default=None) for kind in alive}
    cut_off = [worker for worker in alive["worker"] if worker.note]
    return [
        Condition(
            "beat",
            "ok" if alive["beat"] else "bad",
            "Beat (the clock)",
            "Nothing runs by the clock: no retries, no overdue check, no pruning, no safety net behind the wake-ups.",
            "Start the beat process, and only one. If it runs, read its log: it hangs.",
            _seen(alive["beat"], silent["beat"]),
            "beatdead",
        ),
        Condition(
            "worker",
            "bad" if not alive["worker"] else "warn" if len(cut_off) == len(alive["worker"]) else "ok",
            "Workers",
            "Results are stored and not applied, or by the beat alone while RabbitMQ is away."
            + (f" {cut_off[0].name} {cut_off[0].note}." if cut_off else ""),
            "Start a worker. If one runs, look at RabbitMQ and at its log.",
            _seen(alive["worker"], silent["worker"]),
            "workersdead",
        ),
        Condition(
            "results_worker",
            # One that reads `producer.tasks.v1` too is a worker and no results-worker: where there never was any, none is missed.
            "ok" if alive["results-worker"] or silent["results-worker"] is None else "warn",
            "Workers of the second door",
            "Results that the Consumer sends by RabbitMQ wait there. Those that it posts are taken in as ever.",
            "Start a worker that reads producer.results.v1. To run without one, end it with TERM: then it is not missed.",
            _seen(alive["results-worker"], silent["results-worker"]),
            "resultsworkersdead",
        ),
        Condition(
            "relay",
            "ok" if alive["relay"] or silent["relay"] is None else "warn",
            "Relays",
            "No standing relay. Beat and workers carry the events, up to a second later each.",
            "Start `manage.py relay`. To run without one, end it with Ctrl-C or TERM: then it is not missed.",
            _seen(alive["relay"], silent["relay"]),
            "relaydead",
        ),
    ]


def _seen(alive: list[ProcessStats], silent_seconds: float | None) -> str:
    if alive:
        return f"{len(alive)} alive"
    return "none" if silent_seconds is None else f"silent for {silent_seconds:.0f} s"
