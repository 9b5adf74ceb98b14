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

import psycopg2
import report
from api_load import Connection, request
from private import ROOT, django, peer_python, servers

BODY = {
    "account_number": "DE89370400440532013000", "amount": "125.50", "currency": "EUR", "direction": "debit",
    "transaction_date": "2026-11-22T10:15:00Z", "description": "Invoice 881 " + "x" * 60, "metadata": {"branch": "north"},
}  # fmt: skip
PORT, PER_SECOND, WARM_UP = 18811, 50, 50
CELERY = [sys.executable, "-m", "celery", "-A", "producer"]
RELAY = [[sys.executable, "manage.py", "relay"]]
TICK = [
    [*CELERY, "worker", "-Q", "producer.tasks.v1", "-c", "1", "--without-gossip", "--without-mingle", "-l", "ERROR"],
    [*CELERY, "beat", "--pidfile=", "-l", "ERROR"],
]


@contextmanager
def running(commands: list[list[str]], environment: dict[str, str]) -> Iterator[None]:
    started = [
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        yield
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


def wakeup_cost(rounds: int, requests: int) -> tuple[list[float], list[float]]:
    """CPU seconds of this process per POST, all threads: each with a wake-up of its own and each without, in turns.

    The worst case: in a stream of more than 100 a second one wake-up does for several.
    """
    from django.test import Client  # noqa: PLC0415 - after Django is set up

    from outbox import wakeup  # noqa: PLC0415
    from transactions.clients import create_client  # noqa: PLC0415

    poke, notify, client, key = wakeup.poke, wakeup._waker._action, Client(), create_client(f"cost-{uuid.uuid4()}")
    sent: list[None] = []

    def notify_and_count() -> None:
        notify()
        sent.append(None)

    def one(wake: bool) -> float:
        wakeup.poke = poke if wake else lambda: None
        before = len(sent)
        started = time.process_time()
        answer = client.post(
            "/api/v1/transactions", json.dumps(BODY), content_type="application/json",
            headers={"Authorization": f"Bearer {key}", "Idempotency-Key": str(uuid.uuid4())},
        )  # fmt: skip
        assert answer.status_code == 201, answer.content
        # Mostly enough for the thread; waiting for its word would cost something too.
        time.sleep(0.010)
        while wake and len(sent) == before:
            time.sleep(0.002)
        return time.process_time() - started

    wakeup._waker._action = notify_and_count
    for _ in range(50):
        one(True), one(False)
    taken = [[(one(True), one(False)) for _ in range(requests)] for _ in range(rounds)]
    wakeup.poke, wakeup._waker._action = poke, notify
    with_them, without = (
        [statistics.median(pair[which] for pair in one_round) for one_round in taken] for which in (0, 1)
    )
    return with_them, without


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
            web = [
                sys.executable,
                "-m",
                "gunicorn",
                "-c",
                "ops/gunicorn.conf.py",
                "producer.wsgi",
                "-b",
                f"127.0.0.1:{PORT}",
            ]
            stack.enter_context(running([web], environment))
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
            with_them, without = wakeup_cost(rounds=5 if chosen.quick else 15, requests=100)
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
