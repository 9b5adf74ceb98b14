"""Reads the environment: databases and brokers by URL, secrets also from NAME_FILE, refusals in one clear sentence."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parents[2]
FILESYSTEM_TRANSPORT = "reference.filesystem:Transport"
INSECURE_SECRET_KEY = "insecure-development-key-of-the-reference-consumer"  # noqa: S105 - refused outside debug mode
HOW_TO_MAKE_ONE = (
    "python -c \"import base64, secrets; print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())\""
)

# Without these a server that vanished (and did not close) holds a worker for about 15 minutes.
POSTGRESQL_OPTIONS = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}
# PgBouncer refuses `options` in the start-up packet: there the role has to have these.
POSTGRESQL_DEADLINES = "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=30s"
# IMMEDIATE: the write lock is taken at BEGIN, so a read-then-write transaction waits its turn and never fails half way.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
}

env = environ.FileAwareEnv()


def secret(name: str, default: str = "") -> str:
    """A setting of random characters, as it stands: to the library one that begins with `$` names another variable."""
    return str(env.ENVIRON.get(name, "")).strip() or default


def words(name: str, default: str = "") -> list[str]:
    """A list setting: items separated by white space or commas."""
    return [item for item in re.split(r"[,\s]+", env.str(name, default=default)) if item]


def database(url: str, *, pooled: bool = False) -> dict[str, Any]:
    """Django's DATABASES entry for CONSUMER_DATABASE_URL, with the deadlines that each engine needs.

    `pooled`: behind PgBouncer in transaction mode.
    """
    config: dict[str, Any] = dict(environ.Env.db_url_config(url))
    if config["ENGINE"].endswith("postgresql"):
        deadlines = {} if pooled else {"options": POSTGRESQL_DEADLINES}
        config["OPTIONS"] = {**POSTGRESQL_OPTIONS, **deadlines, **config.get("OPTIONS", {})}
        config["DISABLE_SERVER_SIDE_CURSORS"] = pooled
        config["CONN_MAX_AGE"] = 600
        config["CONN_HEALTH_CHECKS"] = True
    elif config["ENGINE"].endswith("sqlite3"):
        config["OPTIONS"] = dict(SQLITE_OPTIONS)
        if config["NAME"] != ":memory:":
            Path(config["NAME"]).parent.mkdir(parents=True, exist_ok=True)
    else:
        raise ImproperlyConfigured(
            "CONSUMER_DATABASE_URL must be postgres://user:password@host:5432/name or sqlite:////absolute/path."
        )
    return config


def readable_file(name: str) -> str:
    """A setting that names a file, or "" when it is not set. Raises ImproperlyConfigured when there is no such file."""
    path = env.str(name, default="")
    if path and not Path(path).is_file():
        raise ImproperlyConfigured(f"{name} names no file: {path}. Mount it there, or correct the path.")
    return path


def broker(url: str) -> tuple[str, dict[str, Any]]:
    """kombu's URL and transport options for BROKER_URL; `filesystem:///dir` is a broker made of files."""
    if url.startswith("filesystem://"):
        folder = Path(unquote(urlsplit(url).path))
        queues, control = folder / "queues", folder / "control"
        for part in (queues, control):
            part.mkdir(parents=True, exist_ok=True)
        return "filesystem://", {
            "data_folder_in": str(queues),
            "data_folder_out": str(queues),
            "control_folder": str(control),
            "store_processed": False,
            "polling_interval": 0.1,
        }
    if not all(one.startswith(("amqp://", "amqps://", "memory://")) for one in url.split(";")):
        raise ImproperlyConfigured(
            "BROKER_URL must be amqp://user:password@host:5672/vhost (several nodes of a cluster: separated by `;`), "
            "or filesystem:///absolute/dir for trying out."
        )
    return url, {}


def amounts(name: str) -> dict[str, str]:
    """A setting of amounts by currency, as in `EUR:1000000 JPY:150000000 *:1000000`."""
    pairs: dict[str, str] = {}
    for item in words(name):
        currency, colon, amount = item.partition(":")
        if not colon or not re.fullmatch(r"[A-Z]{3}|\*", currency) or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", amount):
            raise ImproperlyConfigured(f"{name} must be pairs like 'EUR:1000000 *:500000'; this is not one: {item!r}")
        pairs[currency] = amount
    return pairs


def refuse_unsafe(settings: Mapping[str, Any]) -> None:
    """Refuses to start in production mode without secrets, and says what to set."""
    if settings["DEBUG"]:
        return
    if settings["SECRET_KEY"] == INSECURE_SECRET_KEY:
        raise ImproperlyConfigured(
            "CONSUMER_SECRET_KEY is not set. Set it (or CONSUMER_SECRET_KEY_FILE) to 50 random characters: "
            'python -c "import secrets; print(secrets.token_urlsafe(50))". For trying out, set CONSUMER_DEBUG=true.'
        )
    for name, meaning in (
        ("RESULT_WEBHOOK_SECRET", "the Consumer signs its results with it; the Producer's RESULT_WEBHOOK_SECRETS"),
        ("CONSUMER_WEBHOOK_SECRETS", "the Producer signs fallback POSTs with it"),
    ):
        if not settings[name]:
            raise ImproperlyConfigured(
                f"{name} is not set ({meaning} must hold the same). Make one with: {HOW_TO_MAKE_ONE} "
                f"and set {name} or {name}_FILE. For trying out, set CONSUMER_DEBUG=true."
            )
