"""Runs a Procfile here: `release` first, then every line as a process; stops all when one ends or on Ctrl-C.

Settings: .env in the repository's root, then the environment, which wins. Logs: var/log/<name>.log.
"""

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from producer.demo.interruption import Interruption, StopRequestedError  # noqa: E402 - needs the path from above
from producer.demo.processes import ProcessError, Supervisor  # noqa: E402

RELEASE_SECONDS = 300


def read_procfile(path: Path) -> dict[str, str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.split(":", 1) for line in lines if line and not line.startswith("#"))
    return {name.strip(): command.strip() for name, command in pairs}


def read_env(path: Path) -> dict[str, str]:
    """NAME=value lines, as Docker Compose reads them in their plain form."""
    if not path.is_file():
        return {}
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, value in pairs if value.strip()}


def main(path: Path) -> int:
    commands = read_procfile(path)
    release = commands.pop("release", None)
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(ROOT / "var" / "metrics"), "PYTHONUNBUFFERED": "1"}
    environment = {**shared, **read_env(ROOT / ".env"), **os.environ}
    # Our own import of the Producer sets it; the Consumer has settings of its own.
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    interruption = Interruption()
    interruption.install()
    try:
        with Supervisor(ROOT / "var" / "log", hurry=lambda: interruption.hurry) as supervisor:
            if release:
                print(f"release: {release}", flush=True)
                child = supervisor.start("release", ("bash", "-c", release), environment, ROOT)
                supervisor.finish(child, RELEASE_SECONDS, interruption.check)
            for name, command in commands.items():
                supervisor.start(name, ("bash", "-c", command), environment, ROOT, wave=2 if "web" in name else 1)
                print(f"{name}: started, log var/log/{name}.log", flush=True)
            print("Ctrl-C stops everything.", flush=True)
            while True:
                interruption.check()
                supervisor.check()
                time.sleep(0.2)
    except StopRequestedError:
        return 0
    except ProcessError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
