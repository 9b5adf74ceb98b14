"""POST /transactions under one web server after the other: gunicorn with threads, in several shapes, and granian.

    python ops/bench/servers.py [--seconds 3] [--rounds 5]

Each serves the same application on the same database, in interleaved rounds of one run. granian is installed from PyPI
into a folder of its own (var/bench-granian), since the product does not need it.
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
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from api import BODY, ROOT, WARM_UP_SECONDS, System, post, private_database, spread  # noqa: E402
from api_load import Round, run  # noqa: E402

GRANIAN = ROOT / "var" / "bench-granian"
FIRST_PORT = 18811
GUNICORN = ["-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "producer.wsgi"]
# Name, command after the Python, environment. The first is what ops/Procfile runs.
SERVERS = [
    ("gunicorn 2 x 4 threads", GUNICORN, {"WEB_WORKERS": "2", "WEB_THREADS": "4"}),
    ("gunicorn 2 x 2 threads", GUNICORN, {"WEB_WORKERS": "2", "WEB_THREADS": "2"}),
    ("gunicorn 4 x 2 threads", GUNICORN, {"WEB_WORKERS": "4", "WEB_THREADS": "2"}),
    ("gunicorn 2 x 16 threads", GUNICORN, {"WEB_WORKERS": "2", "WEB_THREADS": "16"}),
    (
        "granian 2 x 4 threads",
        ["-m", "granian", "--interface", "wsgi", "--workers", "2", "--blocking-threads", "4"],
        {},
    ),
]


def install_granian() -> None:
    """Once."""
    if not GRANIAN.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(GRANIAN), "granian>=2.8,<3"]
        subprocess.run(command, check=True)


@contextlib.contextmanager
def serving(ours: System, command: list[str], environment: dict[str, str], port: int) -> Iterator[None]:
    """One server, on a port of its own."""
    path = f"{GRANIAN}:{ours.environment['PYTHONPATH']}"
    if "granian" in command:
        command = [
            *command,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--log-level",
            "error",
            "producer.wsgi:application",
        ]
    else:
        command = [*command, "-b", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [sys.executable, *command], env={**ours.environment, "PYTHONPATH": path, **environment}, cwd=ROOT
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Runs them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="rounds of one second; for a first look")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds = 1.0
    install_granian()
    with private_database() as database, tempfile.TemporaryDirectory() as state, contextlib.ExitStack() as stack:
        ours = System("ours", database, state)
        ours.manage("migrate", "--verbosity=0")
        key = ours.manage("create_api_client", "bench").split()[-1]
        body = json.dumps(BODY).encode()
        ports = {}
        for number, (name, command, environment) in enumerate(SERVERS):
            ports[name] = FIRST_PORT + number
            stack.enter_context(serving(ours, command, environment, ports[name]))
        time.sleep(6)

        def make() -> bytes:
            return post("/api/v1/transactions", body, key)

        for connections in (8, 32):
            done: dict[str, list[Round]] = {name: [] for name in ports}
            for _ in range(chosen.rounds):
                for name, port in ports.items():
                    run(port, connections, WARM_UP_SECONDS, make)
                    done[name].append(run(port, connections, chosen.seconds, make))
            print(f"\nPOST, {connections} connections, load of the machine {os.getloadavg()[0]:.1f}")
            first = done[SERVERS[0][0]]
            for name, rounds in done.items():
                if refused := [answer for one in rounds for answer in one.refused]:
                    raise SystemExit(f"{name}: {len(refused)} refused, first: {refused[0][:800]!r}")
                p50, p99 = (statistics.median(one.percentile(share) for one in rounds) for share in (0.5, 0.99))
                ratio = statistics.median(one.rate / base.rate for one, base in zip(rounds, first, strict=True))
                print(
                    f"{name:26}{spread([one.rate for one in rounds]):>20}/s p50 {p50:5.1f} p99 {p99:6.1f} ms  {ratio:.2f}"
                )
                figures = {"bench": f"server-{connections}", "server": name, "ratio": round(ratio, 2)}
                print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
