"""A database and a vhost of the benchmark's own, and a Django set up on them; dropped at the end."""

# ruff: noqa: PLC0415 - Django's settings name the database, which is made first

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

ROOT = Path(__file__).resolve().parents[2]
DATABASE = os.environ.get("DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/postgres"
BROKER = os.environ.get("BROKER_URL") or "amqp://guest:guest@127.0.0.1:5672//"


def own(url: str, name: str) -> str:
    """`url` with its path replaced: the same server, a database or vhost of our own."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@contextlib.contextmanager
def servers(name: str) -> Iterator[dict[str, str]]:
    """The environment that a process of ours needs to use the new database and vhost; sets it here too."""
    name = f"bench_{name}_{os.getpid()}"
    user = urlsplit(BROKER).username or "guest"
    subprocess.run(["createdb", "--maintenance-db", DATABASE, name], check=True)
    try:
        for verb in (["add_vhost", name], ["set_permissions", "-p", name, user, ".*", ".*", ".*"]):
            subprocess.run(["rabbitmqctl", "--quiet", *verb], check=True, stdout=subprocess.DEVNULL)
        os.environ.update(
            DATABASE_URL=own(DATABASE, name), BROKER_URL=own(BROKER, name), DJANGO_SETTINGS_MODULE="producer.settings",
            LOG_LEVEL="ERROR", DEBUG="false", SECRET_KEY="only-for-the-benchmark", ALLOWED_HOSTS="127.0.0.1,testserver",
            API_RATE_PER_SECOND="1000000", API_RATE_BURST="1000000",
        )  # fmt: skip
        yield dict(os.environ)
    finally:
        with contextlib.suppress(Exception):
            from django.db import connections

            connections.close_all()
        subprocess.run(["dropdb", "--force", "--maintenance-db", DATABASE, name], check=False)
        subprocess.run(["rabbitmqctl", "--quiet", "delete_vhost", name], check=False, stdout=subprocess.DEVNULL)


def django(*apps: str) -> None:
    """Sets up and migrates: `apps`, or everything."""
    sys.path.insert(0, str(ROOT))
    import django
    from django.core.management import call_command

    django.setup()
    for app in apps or (None,):
        call_command("migrate", *([app] if app else []), verbosity=0, skip_checks=True)


def peer_python(name: str, *packages: str) -> str | None:
    """The interpreter of a virtual environment of the peer's own with `packages` from PyPI; None, with a word, if it fails."""
    folder = ROOT / "var" / f"bench-{name}"
    python, stamp = folder / "bin" / "python", folder / "-".join(["installed", *packages]).replace("/", "-")
    if stamp.exists():
        return str(python)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name} is left out: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
            return None
    stamp.touch()
    return str(python)
