"""Reads and validates the environment; secrets also from NAME_FILE; fails loudly and says what to do."""

import ipaddress
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from producer.addresses import Address, addresses
from webhooks.signing_keys import KeyFormatError, VerifyKey, load_key

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_SECRET_KEY = "insecure-default-for-the-first-five-minutes-only"  # noqa: S105 - refused outside DEBUG
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
ON, OFF = {"true", "on", "yes", "y", "ok", "1"}, {"false", "off", "no", "n", "0"}

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


# To the URL's grammar the password ends at such a character.
ENCODED = "In its user and password write % as %25, / as %2F, ? as %3F, # as %23, : as %3A and @ as %40."


class Environment(environ.FileAwareEnv):
    """The value, or that of the file NAME_FILE, as it stands: to the library one that begins with `$` names another variable."""

    def get_value(self, var: str, *args: Any, default: Any = None, **options: Any) -> Any:
        """Text, or the default. Raises ImproperlyConfigured for a file that cannot be read."""
        try:
            return self.ENVIRON[var]
        except KeyError:
            return default
        except OSError as error:
            raise ImproperlyConfigured(
                f"{var}_FILE names a file that cannot be read ({error.strerror}). Mount it there, or correct the path."
            ) from None


env = Environment()  # type: ignore[no-untyped-call]
Number = TypeVar("Number", int, float)


def number(name: str, default: Number, *, least: float = 1) -> Number:
    """A setting that is a number of the default's kind, `least` or more. Raises ImproperlyConfigured."""
    text = env.str(name, default="")
    if not text:
        return default
    kind = type(default)
    said = "a whole number" if kind is int else "a number"
    try:
        value = kind(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be {said}, such as {default}.") from None
    if not (math.isfinite(value) and value >= least):
        raise ImproperlyConfigured(f"{name} must be {said} of at least {least:g}, such as {default}.")
    return value


def switch(name: str, *, default: bool) -> bool:
    """A setting that is on or off. Raises ImproperlyConfigured: a misspelt "on" that counts as off would open the admin."""
    word = env.str(name, default="").strip().lower()
    if word and word not in ON | OFF:
        raise ImproperlyConfigured(f"{name} must be true or false (or on, off, yes, no, 1, 0).")
    return word in ON if word else default


def choice(name: str, default: str, choices: Collection[str]) -> str:
    """A setting that is one of a few words. Raises ImproperlyConfigured."""
    value = env.str(name, default="") or default
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}.")
    return str(value)


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


def database(url: str, *, pooled: bool = False, name: str = "DATABASE_URL") -> dict[str, Any]:
    """Django's DATABASES entry for the URL in the setting `name`, with the deadlines that each engine needs.

    `pooled`: behind a pool that gives each transaction another session.

    Raises ImproperlyConfigured for what is no URL, and for an engine other than PostgreSQL and SQLite.
    """
    try:
        config: dict[str, Any] = dict(environ.Env.db_url_config(url))  # type: ignore[no-untyped-call]
    except ValueError:
        # Its own words quote what it took for the port: the beginning of the password.
        raise ImproperlyConfigured(f"{name} cannot be read. {ENCODED}") from None
    engine = config.get("ENGINE", "")
    if engine.endswith("postgresql"):
        deadlines = {} if pooled else {"options": POSTGRESQL_DEADLINES}
        config["OPTIONS"] = {**POSTGRESQL_OPTIONS, **deadlines, **config.get("OPTIONS", {})}
        # A cursor on the server would stay in the session that the next transaction does not get.
        config["DISABLE_SERVER_SIDE_CURSORS"] = pooled
        config["CONN_MAX_AGE"] = 600
        config["CONN_HEALTH_CHECKS"] = True
    elif engine.endswith("sqlite3"):
        config["OPTIONS"] = dict(SQLITE_OPTIONS)
        Path(config["NAME"]).parent.mkdir(parents=True, exist_ok=True)
    else:
        raise ImproperlyConfigured(
            f"{name} must be postgres://user:password@host:5432/name (or sqlite:////path for trying out)."
        )
    return config


def replica(url: str, *, of: Mapping[str, Any], pooled: bool = False) -> dict[str, Any]:
    """Django's DATABASES entry for a standby of `of`. Raises ImproperlyConfigured unless both are PostgreSQL."""
    config = database(url, pooled=pooled, name="DATABASE_REPLICA_URL")
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
    brokers = [_servers(name, settings[name]) for name in ("BROKER_URL", "TASKS_BROKER_URL", "READ_BROKER_URL")]
    if settings["DEBUG"]:
        return
    if settings["SECRET_KEY"] == DEFAULT_SECRET_KEY:
        raise ImproperlyConfigured(
            "SECRET_KEY is the default, or empty. Set SECRET_KEY (or SECRET_KEY_FILE) to 50 random characters: "
            'python -c "import secrets; print(secrets.token_urlsafe(50))". For trying out, set DEBUG=true.'
        )
    if not settings["ALLOWED_HOSTS"]:
        raise ImproperlyConfigured(
            "ALLOWED_HOSTS is empty. Set it to the host names that clients use, separated by commas."
        )
    if any(server.host not in LOOPBACK and server.user in {"", "guest"} for servers in brokers for server in servers):
        raise ImproperlyConfigured(
            "BROKER_URL uses RabbitMQ's user 'guest' off loopback. Make a user of its own (ops/README.md) and name it."
        )


def _servers(name: str, url: str) -> list[Address]:
    """The nodes of a RabbitMQ; none for files. Raises ImproperlyConfigured."""
    try:
        return addresses(url) if url.startswith("amqp") else []
    except ValueError:
        raise ImproperlyConfigured(f"{name} cannot be read. {ENCODED}") from None


def refuse_malformed(settings: Mapping[str, Any]) -> None:
    """Refuses what would only be met with the first result, or in the first outage. No secret is repeated.

    Raises ImproperlyConfigured.
    """
    for name in ("CONSUMER_WEBHOOK_SECRETS", "RESULT_WEBHOOK_SECRETS"):
        for secret in settings[name]:
            try:
                key = load_key(secret, allow_short=True)
            except KeyFormatError as error:
                raise ImproperlyConfigured(f"{name}: {error} A secret is whsec_ and base64.") from None
            if name == "CONSUMER_WEBHOOK_SECRETS" and isinstance(key, VerifyKey):
                raise ImproperlyConfigured(f"{name}: a public key (whpk_) signs nothing. Use whsec_ or whsk_.")
    for network in settings["WEBHOOK_ALLOWED_NETWORKS"]:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ImproperlyConfigured(
                "WEBHOOK_ALLOWED_NETWORKS must be networks such as 10.1.0.0/16, separated by commas or spaces."
            ) from None
    if any("/" in host for host in settings["ALLOWED_HOSTS"]):
        raise ImproperlyConfigured(
            "ALLOWED_HOSTS must be host names alone, such as producer.example, without https://."
        )
    examples = {
        "PUBLIC_URL": "https://producer.example",
        "PROBLEM_TYPE_BASE": "https://producer.example/problems/",
        "CONSUMER_WEBHOOK_URL": "https://consumer.example/webhooks/events",
    }
    for name, example in examples.items():
        if settings[name] and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", settings[name]):
            raise ImproperlyConfigured(f"{name} must be a URL such as {example}.")
