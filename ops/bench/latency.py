"""Commit to confirmed at a steady rate through the running system, beside the tick alone and faststream-outbox.

    python ops/bench/latency.py [--quick] [--only wakeup tick peer cost]

Ours: `published_at - created_at` of each event, both by the database's clock: from the start of the INSERT that the commit
ends to the settlement after the broker's confirm. The peer: from before its INSERT to after its confirmed publish.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg2
import report
from api_load import Connection, request
from private import ROOT, django, peer_python, servers

BODY = {
    "account_number": "DE89370400440532013000", "amount": "125.50", "currency": "EUR", "direction": "debit",
    "transaction_date": "2026-11-22T10:15:00Z", "description": "Invoice 881 " + "x" * 60, "metadata": {"branch": "north"},
}  # fmt: skip
PORT, UNWOKEN_PORT, PER_SECOND, WARM_UP = 18811, 18812, 50, 50
CELERY = [sys.executable, "-m", "celery", "-A", "producer"]
RELAY = [[sys.executable, "manage.py", "relay"]]
# Hears each wake-up as a relay does, and does nothing about it.
LISTENER = [
    [
        sys.executable,
        "-c",
        "import django; django.setup(); from outbox.wakeup import Listener; listener = Listener()\nwhile True: listener.wait(60)",
    ]
]
TICK = [
    [*CELERY, "worker", "-Q", "producer.tasks.v1", "-c", "1", "--without-gossip", "--without-mingle", "-l", "ERROR"],
    [*CELERY, "beat", "--pidfile=", "-l", "ERROR"],
]


def web(module: str, port: int) -> list[str]:
    """The command of a web server with production's settings."""
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "ops/gunicorn.conf.py",
        "--pythonpath",
        "ops/bench",
        module,
        "-b",
        f"127.0.0.1:{port}",
    ]


@contextmanager
def running(commands: list[list[str]], environment: dict[str, str]) -> Iterator["list[subprocess.Popen[bytes]]"]:
    started = [
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


def answers(port: int, seconds: float = 60) -> None:
    """Returns once somebody listens there."""
    until = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        if time.monotonic() > until:
            raise SystemExit("the web server did not start")
        time.sleep(0.1)


def post(key: str) -> bytes:
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": str(uuid.uuid4())}
    return request("/api/v1/transactions", json.dumps(BODY).encode(), headers)


def through_the_system(key: str, url: str, count: int) -> list[float]:
    """`count` transactions at the steady rate; the latency of each event (ms) once all are published."""
    with psycopg2.connect(url) as database, database.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        since = cursor.fetchone()[0]
        connection, start = Connection(PORT), time.perf_counter()
        for number in range(count + WARM_UP):
            time.sleep(max(0.0, start + number / PER_SECOND - time.perf_counter()))
            if number == WARM_UP:
                cursor.execute("SELECT clock_timestamp()")
                since = cursor.fetchone()[0]
            connection.send(post(key))
            while (answer := connection.answer()) is None:
                pass
            assert answer[9:12] == b"201", answer
        for _ in range(100):
            cursor.execute(
                "SELECT 1000 * extract(epoch FROM published_at - created_at)::float FROM outbox_outboxmessage"
                " WHERE state = 'published' AND created_at >= %s",
                [since],
            )
            if len(taken := [row[0] for row in cursor.fetchall()]) >= count:
                return taken
            time.sleep(0.1)
        raise SystemExit(f"only {len(taken)} of {count} events were published")


def peer(url: str, broker: str, count: int) -> list[float] | None:
    python = peer_python("latency", "faststream-outbox==0.19.0", "faststream[rabbit]", "asyncpg", "greenlet")
    if python is None:
        return None
    script = ROOT / "ops/bench/peers/faststream_latency.py"
    done = subprocess.run(
        [python, str(script), url, broker, str(count), str(PER_SECOND)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print("faststream-outbox is left out:", done.stderr.strip().splitlines()[-1])
        return None
    # It logs to standard output as well.
    printed = next(line for line in done.stdout.splitlines() if line.startswith("["))
    return [1000 * seconds for seconds in json.loads(printed)]


def wakeup_cost(key: str, environment: dict[str, str], rounds: int, requests: int) -> tuple[list[float], list[float]]:
    """CPU seconds per POST of the steady rate, of the web processes and their sessions in PostgreSQL, in interleaved rounds.

    With wake-ups and without; each POST pays for its own, as up to 60 a second and process do. Somebody listens and does
    nothing: what a relay does with an event costs the same whenever it does it, and in between requests it would take their
    caches as well.
    """
    taken: dict[int, list[float]] = {PORT: [], UNWOKEN_PORT: []}
    with ExitStack() as stack:
        stack.enter_context(running(LISTENER, environment))
        workers, kept = {}, {}
        for port, module in ((PORT, "producer.wsgi"), (UNWOKEN_PORT, "unwoken")):
            # libpq's own variable: which sessions are whose.
            named = {**environment, "PGAPPNAME": f"bench-{port}"}
            master = stack.enter_context(running([web(module, port)], named))[0]
            answers(port)
            # One connection for all rounds, so that it is always the same process that answers.
            kept[port] = Connection(port)
            at_a_steady_rate(kept[port], key, requests)
            children = Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
            workers[port] = [*map(int, children), *sessions(environment["DATABASE_URL"], f"bench-{port}")]
        for number in range(rounds):
            for port in list(taken)[:: -1 if number % 2 else 1]:
                before = sum(map(cpu_seconds, workers[port]))
                at_a_steady_rate(kept[port], key, requests)
                taken[port].append((sum(map(cpu_seconds, workers[port])) - before) / requests)
    return taken[PORT], taken[UNWOKEN_PORT]


def sessions(url: str, name: str) -> list[int]:
    """The server's processes for it; they are on this machine."""
    with psycopg2.connect(url) as database, database.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", [name])
        found = [row[0] for row in cursor.fetchall()]
    if not found:
        raise SystemExit(f"{name} has no session")
    return found


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have had, by the scheduler's nanoseconds."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def at_a_steady_rate(connection: Connection, key: str, count: int) -> None:
    start = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, start + number / PER_SECOND - time.perf_counter()))
        connection.send(post(key))
        while (answer := connection.answer()) is None:
            pass
        assert answer[9:12] == b"201", answer


def show(name: str, taken: list[float]) -> None:
    ordered = sorted(taken)
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
    print(
        f"{name:<30} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   max {ordered[-1]:7.1f} ms   n {len(ordered)}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 events each instead of 500")
    parser.add_argument("--only", nargs="+", default=["wakeup", "tick", "peer", "cost"])
    chosen = parser.parse_args()
    count = 100 if chosen.quick else 500
    found: dict[str, list[float]] = {}
    with servers("latency") as environment, tempfile.TemporaryDirectory() as state, ExitStack() as stack:
        environment["STATE_FOLDER"] = state
        django()
        from django.core.management import call_command  # noqa: PLC0415 - after Django is set up

        from transactions.clients import create_client  # noqa: PLC0415

        call_command("declare_topology", verbosity=0)
        key, url, broker = create_client("bench"), environment["DATABASE_URL"], environment["BROKER_URL"]
        if {"wakeup", "tick"} & set(chosen.only):
            stack.enter_context(running([web("producer.wsgi", PORT)], environment))
            answers(PORT)
        for name, commands in (("wakeup", RELAY), ("tick", TICK)):
            if name in chosen.only:
                with running(commands, environment):
                    time.sleep(8 if name == "tick" else 3)
                    found[name] = through_the_system(key, url, count)
                show(f"ours, {name}", found[name])
        if "peer" in chosen.only and (taken := peer(url, broker, count)):
            found["peer"] = taken
            show("faststream-outbox", taken)
        if "cost" in chosen.only:
            stack.close()
            with_them, without = wakeup_cost(key, environment, rounds=5 if chosen.quick else 15, requests=100)
            more = [a - b for a, b in zip(with_them, without, strict=True)]
            cost, post_cost = 1000 * statistics.median(more), 1000 * statistics.median(without)
            print(f"a wake-up costs {cost:.3f} ms of CPU beside a POST of {post_cost:.2f} ms: {cost / post_cost:.1%}")
            report.compare("latency: CPU of a POST, wake-ups / none", with_them, without, "s", want="< 1.05")
    medians = {name: statistics.median(taken) for name, taken in found.items()}
    report.head()
    if {"wakeup", "tick"} <= set(medians):
        report.compare(
            "latency: p50, wake-ups / tick alone", [medians["wakeup"]], [medians["tick"]], "ms", want="<= 0.05"
        )
    if {"wakeup", "peer"} <= set(medians):
        report.compare(
            "latency: p50, ours / faststream-outbox", [medians["wakeup"]], [medians["peer"]], "ms", want="<= 2"
        )
    report.json_lines()


if __name__ == "__main__":
    main()
