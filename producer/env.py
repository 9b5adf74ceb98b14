"""Reads and validates the environment; secrets also from NAME_FILE; fails loudly and says what to do."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from producer.addresses import addresses

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_SECRET_KEY = "insecure-default-for-the-first-five-minutes-only"  # noqa: S105 - refused outside DEBUG
LOOPBACK = {"127.0.0.1", "localhost", "::1"}

# Tells a dropped server from a slow one; without these a black-holed connection hangs a worker for about 15 minutes.
POSTGRESQL_OPTIONS = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}
# A statement, a wait for a lock and an idle transaction end by themselves. PgBouncer refuses `options` in the start-up
# packet; there the role has them (ops/postgres/roles.sql), and producer.W005 looks whether it does.
POSTGRESQL_DEADLINES = "-c statement_timeout=10s -c lock_timeout=2s -c idle_in_transaction_session_timeout=30s"
# IMMEDIATE takes the write lock at BEGIN, so that a read-then-write transaction never fails half way with SQLITE_BUSY.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
}

env = environ.FileAwareEnv()  # type: ignore[no-untyped-call]


def words(name: str, default: str = "") -> list[str]:
    """A list setting: items separated by commas or white space."""
    return [item for item in re.split(r"[,\s]+", env.str(name, default=default)) if item]


def readable_file(name: str) -> str:
    """A setting that names a file, or "" when it is not set.

    Raises ImproperlyConfigured when there is no such file: the first connection would fail with fewer words.
    """
    path = env.str(name, default="")
    if path and not Path(path).is_file():
        raise ImproperlyConfigured(f"{name} names no file: {path}. Mount it there, or correct the path.")
    return path


def database(url: str, *, pooled: bool = False) -> dict[str, Any]:
    """Django's DATABASES entry for DATABASE_URL, with the deadlines that each engine needs.

    `pooled`: behind a pool that gives each transaction another session.

    Raises ImproperlyConfigured for an engine other than PostgreSQL and SQLite.
    """
    config: dict[str, Any] = dict(environ.Env.db_url_config(url))  # type: ignore[no-untyped-call]
    if config["ENGINE"].endswith("postgresql"):
        deadlines = {} if pooled else {"options": POSTGRESQL_DEADLINES}
        config["OPTIONS"] = {**POSTGRESQL_OPTIONS, **deadlines, **config.get("OPTIONS", {})}
        # A cursor on the server would stay in the session that the next transaction does not get.
        config["DISABLE_SERVER_SIDE_CURSORS"] = pooled
        config["CONN_MAX_AGE"] = 600
        config["CONN_HEALTH_CHECKS"] = True
    elif config["ENGINE"].endswith("sqlite3"):
        config["OPTIONS"] = dict(SQLITE_OPTIONS)
        Path(config["NAME"]).parent.mkdir(parents=True, exist_ok=True)
    else:
        raise ImproperlyConfigured(
            "DATABASE_URL must be postgres://user:password@host:5432/name (or sqlite:////path for trying out)."
        )
    return config


def replica(url: str, *, of: Mapping[str, Any], pooled: bool = False) -> dict[str, Any]:
    """Django's DATABASES entry for a standby of `of`. Raises ImproperlyConfigured unless both are PostgreSQL."""
    config = database(url, pooled=pooled)
    if not config["ENGINE"] == of["ENGINE"] == "django.db.backends.postgresql":
        raise ImproperlyConfigured(
            "DATABASE_REPLICA_URL must be a standby of the PostgreSQL in DATABASE_URL, or empty."
        )
    return {**config, "TEST": {"MIRROR": "default"}}


def broker(url: str) -> tuple[str, dict[str, Any]]:
    """Celery's broker_url and broker_transport_options for BROKER_URL.

    `filesystem:///dir` is the embedded broker: files in a folder, for trying out only.
    """
    if url.startswith("filesystem://"):
        folder = Path(unquote(urlsplit(url).path))
        for part in ("queues", "control"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        queues = str(folder / "queues")
        return "filesystem://", {
            "data_folder_in": queues,
            "data_folder_out": queues,
            "control_folder": str(folder / "control"),
            "store_processed": False,
            "polling_interval": 0.1,
        }
    if not all(one.startswith(("amqp://", "amqps://")) for one in url.split(";")):
        raise ImproperlyConfigured(
            "BROKER_URL must be amqp://user:password@host:5672/vhost (several nodes of a cluster: separated by `;`), "
            "or filesystem:///dir for trying out."
        )
    return url, {"confirm_publish": True}


def refuse_unsafe(settings: Mapping[str, Any]) -> None:
    """Refuses to start with a default that only development may use (contract section 1).

    Raises ImproperlyConfigured with the sentence that tells the operator what to set.
    """
    if settings["DEBUG"]:
        return
    if settings["SECRET_KEY"] == DEFAULT_SECRET_KEY:
        raise ImproperlyConfigured(
            "SECRET_KEY is the default. Set SECRET_KEY (or SECRET_KEY_FILE) to 50 random characters: "
            'python -c "import secrets; print(secrets.token_urlsafe(50))". For trying out, set DEBUG=true.'
        )
    if not settings["ALLOWED_HOSTS"]:
        raise ImproperlyConfigured(
            "ALLOWED_HOSTS is empty. Set it to the host names that clients use, separated by commas."
        )
    brokers = [url for url in (settings["BROKER_URL"], settings["TASKS_BROKER_URL"]) if url.startswith("amqp")]
    found = [broker for url in brokers for broker in addresses(url)]
    if any((broker.user or "guest") == "guest" and broker.host not in LOOPBACK for broker in found):
        raise ImproperlyConfigured(
            "BROKER_URL uses RabbitMQ's user 'guest' off loopback. Make a user of its own (ops/README.md) and name it."
        )
