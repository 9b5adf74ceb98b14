"""Where the demo keeps things, and the environment of each process that it starts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from producer.demo.keys import DemoKeys

ROOT = Path(__file__).resolve().parents[2]
VAR = ROOT / "var"
LOGS = VAR / "log"
METRICS = VAR / "metrics"
KEYS_FILE = VAR / "demo-keys.json"
EXPORTS_FILE = VAR / "demo.env"
LOCK_FILE = VAR / "demo.lock"
EMBEDDED_BROKER_URL = f"filesystem://{VAR / 'broker'}"

# Ours to set for each child, or harmful when inherited: Django's settings module is another one in the Consumer.
NOT_INHERITED = ("DJANGO_SETTINGS_MODULE", "GUNICORN_CMD_ARGS", "PYTHONPATH", "PYTHONHOME", "ONCE", "COUNT", "FILE")


@dataclass(frozen=True)
class Places:
    producer_url: str
    consumer_url: str | None  # None: CONSUMER=off
    api_key: str = ""


def tidy(environment: Mapping[str, str]) -> dict[str, str]:
    """A copy in which an empty setting counts as not set, as `make demo DATABASE_URL=` means it."""
    return {name: value for name, value in environment.items() if value != "" and name not in NOT_INHERITED}


def defaults_for_settings(keys: DemoKeys) -> dict[str, str]:
    """What the Producer's settings insist on with DEBUG off. The demo runs so: no traceback pages, bounded memory."""
    return {
        "DEBUG": "false",
        "SECRET_KEY": keys.secret_key,
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        # The log-in that it prints is for the first minutes; nobody enrols a phone for them.
        "ADMIN_SECOND_FACTOR": "false",
        "LOG_LEVEL": "INFO",
    }


def producer_environment(base: Mapping[str, str], keys: DemoKeys, places: Places) -> dict[str, str]:
    """What the person set stays; the demo fills in the rest."""
    made = {
        **defaults_for_settings(keys),
        "PUBLIC_URL": places.producer_url,
        "RESULT_WEBHOOK_SECRETS": keys.result_webhook_secret,
        "PYTHONUNBUFFERED": "1",
        "PROMETHEUS_MULTIPROC_DIR": str(METRICS),
        "LOG_EACH": "true",
    }
    if places.consumer_url is not None:
        made["CONSUMER_WEBHOOK_URL"] = f"{places.consumer_url}/webhooks/events"
        made["CONSUMER_WEBHOOK_SECRETS"] = keys.consumer_webhook_secret
        # The fallback goes to loopback here, which the product refuses unless it is told otherwise.
        made["WEBHOOK_ALLOWED_NETWORKS"] = "127.0.0.0/8"
    return {**made, **tidy(base)}


def consumer_environment(base: Mapping[str, str], keys: DemoKeys, places: Places) -> dict[str, str]:
    kept = tidy(base)
    # The Producer's own settings and secrets are no business of the Consumer, which is another company's program.
    for name in ("DATABASE_URL", "SECRET_KEY", "DEBUG", "ALLOWED_HOSTS", "PUBLIC_URL", "RESULT_WEBHOOK_SECRETS"):
        kept.pop(name, None)
    made = {
        "BROKER_URL": EMBEDDED_BROKER_URL,
        "CONSUMER_DATABASE_URL": f"sqlite:///{VAR / 'consumer.sqlite3'}",
        "CONSUMER_SECRET_KEY": keys.consumer_secret_key,
        "CONSUMER_DEBUG": "false",
        "CONSUMER_ALLOWED_HOSTS": "127.0.0.1,localhost",
        "CONSUMER_WEBHOOK_SECRETS": keys.consumer_webhook_secret,
        "RESULT_WEBHOOK_SECRET": result_webhook_secret(base, keys),
        "PYTHONUNBUFFERED": "1",
    }
    return {**made, **kept, "PRODUCER_URL": places.producer_url, "PRODUCER_API_KEY": places.api_key}


def result_webhook_secret(base: Mapping[str, str], keys: DemoKeys) -> str:
    """The one that the Consumer signs with: set by the person, else the first that the Producer accepts."""
    accepted = base.get("RESULT_WEBHOOK_SECRETS", "").replace(",", " ").split()
    return base.get("RESULT_WEBHOOK_SECRET") or (accepted[0] if accepted else keys.result_webhook_secret)


def current() -> dict[str, str]:
    return dict(os.environ)
