"""POST /transactions with everything on, against what one would write by hand and against the floor; on PostgreSQL.

    python ops/bench/api.py [--seconds 3] [--rounds 5] [--only ours]

All three run on the same gunicorn settings and workers, in one run, in interleaved rounds; figures are medians, with
the smallest and the largest. The database is made for the run and dropped after it.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from api_load import Round, request, run  # noqa: E402

SERVER = os.environ.get("DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/postgres"
PORTS = {"ours": 18801, "by hand": 18802, "floor": 18803}
BODY = {
    "account_number": "DE89370400440532013000", "amount": "125.50", "currency": "EUR", "direction": "debit",
    "transaction_date": "2026-11-22T10:15:00Z", "description": "Invoice 881", "metadata": {"branch": "north"},
}  # fmt: skip
BATCH = 1000
# Settle time (seconds) before each measured round: the first requests open connections.
WARM_UP_SECONDS = 0.5


@contextlib.contextmanager
def private_database() -> Iterator[str]:
    """The URL of an empty database; dropped at the end."""
    name = f"bench_api_{os.getpid()}"
    admin = psycopg2.connect(urlunsplit(urlsplit(SERVER)._replace(path="/postgres")))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            yield urlunsplit(urlsplit(SERVER)._replace(path=f"/{name}"))
        finally:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
            admin.close()


class System:
    """One of the three: its environment, its Django, its gunicorn."""

    def __init__(self, name: str, database: str, state: str) -> None:
        rival = name != "ours"
        self.name, self.module = name, "rivals.wsgi" if rival else "producer.wsgi"
        self.environment = {
            **os.environ, "PYTHONPATH": f"{HERE}:{ROOT}", "DATABASE_URL": database, "RIVAL": name, "DEBUG": "false",
            "DJANGO_SETTINGS_MODULE": "rivals.settings" if rival else "producer.settings",
            "SECRET_KEY": "only-for-the-benchmark", "ALLOWED_HOSTS": "127.0.0.1", "STATE_FOLDER": state,
            "BROKER_URL": f"filesystem://{state}/broker", "LOG_LEVEL": "ERROR",
            # The limiter works on every request; it is only never reached.
            "API_RATE_PER_SECOND": "1000000", "API_RATE_BURST": "1000000",
        }  # fmt: skip

    def manage(self, *arguments: str) -> str:
        """Runs a Django command; its output."""
        command = [sys.executable, "-m", "django", *arguments]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(arguments)} failed\n{done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Its web server, with the settings that production has."""
        command = [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", self.module]
        process = subprocess.Popen([*command, "-b", f"127.0.0.1:{PORTS[self.name]}"], env=self.environment, cwd=ROOT)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def prepare(systems: list[System]) -> dict[str, Callable[[], bytes]]:
    """Tables, a user each, and for each what makes its next request."""
    ours = systems[0]
    ours.manage("migrate", "--verbosity=0")
    key = ours.manage("create_api_client", "bench").split()[-1]
    # Bodies are text by now: a thousand made anew for each request would take a tenth of what it measures.
    single, batch = json.dumps(BODY).encode(), json.dumps({"transactions": [BODY] * BATCH}).encode()
    makers = {"ours": lambda: post("/api/v1/transactions", single, key)}
    makers["batch"] = lambda: post("/api/v1/transactions/batch", batch, key)
    for rival in systems[1:]:
        token = "none"
        if rival.name == "by hand":
            rival.manage("migrate", "--verbosity=0", "--run-syncdb")
            code = (
                "from django.contrib.auth.models import User; from rest_framework.authtoken.models import Token; "
                "print(Token.objects.create(user=User.objects.create(username='bench')).key)"
            )
            token = rival.manage("shell", "--no-imports", "-v", "0", "-c", code).split()[-1]
        data = request(
            f"/{rival.name.replace(' ', '-')}", json.dumps(BODY).encode(), {"Authorization": f"Token {token}"}
        )
        makers[rival.name] = lambda data=data: data
    return makers


def post(path: str, body: bytes, key: str) -> bytes:
    """A request of ours with a fresh Idempotency-Key."""
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": str(uuid.uuid4())}
    return request(path, body, headers)


def measure(name: str, make: Callable[[], bytes], connections: int, seconds: float) -> Round:
    """One round, warmed up. A refusal ends the benchmark: a fast error is no result."""
    port = PORTS["ours" if name == "batch" else name]
    run(port, connections, WARM_UP_SECONDS, make)
    done = run(port, connections, seconds, make)
    if done.refused:
        raise SystemExit(f"{name}: {len(done.refused)} refused, first: {done.refused[0][:800]!r}")
    return done


def spread(values: list[float]) -> str:
    """median [smallest-largest]"""
    return f"{statistics.median(values):.0f} [{min(values):.0f}-{max(values):.0f}]"


def show(connections: int, rounds: dict[str, list[Round]]) -> None:
    """The table for people."""
    print(f"\nPOST, {connections} connections, load of the machine {os.getloadavg()[0]:.1f}")
    print(f"{'':10}{'requests/s':>22}{'p50 ms':>9}{'p99 ms':>9}")
    for name, done in rounds.items():
        p50, p99 = (statistics.median(r.percentile(share) for r in done) for share in (0.5, 0.99))
        print(f"{name:10}{spread([r.rate for r in done]):>22}{p50:9.1f}{p99:9.1f}")


def line(bench: str, ours: list[float], other: list[float], unit: str) -> None:
    """The JSON line: medians, and the median of the ratios of neighbouring rounds."""
    ratio = statistics.median(a / b for a, b in zip(ours, other, strict=True))
    figures = {"ours": round(statistics.median(ours), 1), "other": round(statistics.median(other), 1)}
    print(json.dumps({"bench": bench, **figures, "ratio": round(ratio, 2), "unit": unit}), flush=True)


def main() -> None:
    """Runs everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="rounds of one second; for a first look")
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 32])
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds = 1.0
    with private_database() as database, tempfile.TemporaryDirectory() as state, contextlib.ExitStack() as stack:
        systems = [System(name, database, state) for name in PORTS]
        makers = prepare(systems)
        for system in systems:
            stack.enter_context(system.serving())
        time.sleep(3)
        names = list(PORTS)
        for connections in chosen.connections:
            rounds: dict[str, list[Round]] = {name: [] for name in names}
            for _ in range(chosen.rounds):
                for name in names:
                    rounds[name].append(measure(name, makers[name], connections, chosen.seconds))
            show(connections, rounds)
            rates = {name: [r.rate for r in done] for name, done in rounds.items()}
            for other in names[1:]:
                line(
                    f"api-create-{connections}-vs-{other.replace(' ', '-')}", rates["ours"], rates[other], "requests/s"
                )
        single, batch = [], []
        for _ in range(chosen.rounds):
            single.append(measure("ours", makers["ours"], 8, chosen.seconds).rate)
            batch.append(BATCH * measure("batch", makers["batch"], 8, chosen.seconds).rate)
        print(f"\nbatches of {BATCH}, 8 connections: {spread(batch)} transactions/s, singly {spread(single)}")
        line("api-batch-vs-single", batch, single, "transactions/s")


if __name__ == "__main__":
    main()
