"""System checks with ids and hints, one for each misconfiguration that would only show at night."""

import os
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connection
from django.utils.module_loading import import_string

from producer.addresses import addresses
from producer.env import LOOPBACK
from webhooks import keys as webhook_keys
from webhooks.signing_keys import MIN_SECRET_BYTES, KeyFormatError, SymmetricKey
from webhooks.ssrf import UnsafeUrlError, check_url

DEADLINES = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
_SECRETS = {"result": "RESULT_WEBHOOK_SECRETS", "consumer": "CONSUMER_WEBHOOK_SECRETS"}


@register()
def driver_is_psycopg2(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """producer.E001: psycopg 3 in the environment silently replaces psycopg2, whose behaviour is what was tested."""
    if connection.vendor == "postgresql" and connection.Database.__name__ != "psycopg2":  # type: ignore[attr-defined]
        return [
            Error(
                "Django uses psycopg 3 instead of psycopg2.",
                hint="Uninstall psycopg: something in your environment pulled it in.",
                id="producer.E001",
            )
        ]
    return []


@register()
def publishers_load(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """producer.E002: a misspelt publisher would stop the relay."""
    found: list[CheckMessage] = []
    for dotted in settings.OUTBOX_PUBLISHERS:
        try:
            import_string(dotted)
        except ImportError as error:
            found.append(Error(f"OUTBOX_PUBLISHERS: {error}", hint="Correct the dotted path.", id="producer.E002"))
    return found


@register()
def secrets_are_well_formed(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """producer.E003, W003: a secret that is no secret, or a short one."""
    found: list[CheckMessage] = []
    for direction, name in _SECRETS.items():
        try:
            keys = webhook_keys.from_settings(direction)
            if any(isinstance(key, SymmetricKey) and len(key.secret) < MIN_SECRET_BYTES for key in keys):
                found.append(
                    Warning(
                        f"{name} has a secret of fewer than {MIN_SECRET_BYTES} bytes.",
                        hint="Make a new one: 24 to 64 random bytes.",
                        id="producer.W003",
                    )
                )
        except KeyFormatError as error:
            found.append(Error(f"{name}: {error}", hint="A secret is whsec_ and base64.", id="producer.E003"))
    return found


@register()
def each_direction_has_a_key(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """producer.W001: without keys no result is accepted and no fallback is signed. Asks the database only if it must."""
    return [
        Warning(
            f"{name} is empty, and the database has no active key either.",
            hint=f"Set it to one or more whsec_ secrets, or: manage.py webhook_keys add --direction {direction}",
            id="producer.W001",
        )
        for direction, name in _SECRETS.items()
        if not getattr(settings, name) and not webhook_keys.has_active(direction)
    ]


@register()
def fallback_may_go_there(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """producer.W007: an address that the guard refuses would be met in the first outage."""
    try:
        if settings.CONSUMER_WEBHOOK_URL:
            check_url(settings.CONSUMER_WEBHOOK_URL, settings.WEBHOOK_ALLOWED_NETWORKS)
    except UnsafeUrlError as error:
        return [
            Warning(
                f"CONSUMER_WEBHOOK_URL cannot be used, so there is no fallback: {error}",
                hint="Use https:// and a public name, or list the Consumer's network in WEBHOOK_ALLOWED_NETWORKS.",
                id="producer.W007",
            )
        ]
    return []


@register()
def lease_outlives_publish(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """producer.E004: a lease that ends during a publish makes duplicates all the time."""
    fallback = settings.OUTBOX_FALLBACK_TIMEOUT_SECONDS if settings.CONSUMER_WEBHOOK_URL else 0
    if max(2 * settings.OUTBOX_PUBLISH_TIMEOUT_SECONDS, fallback * 1.25) > settings.OUTBOX_LEASE_SECONDS:
        return [
            Error(
                "OUTBOX_LEASE_SECONDS is too short for OUTBOX_PUBLISH_TIMEOUT_SECONDS or OUTBOX_FALLBACK_TIMEOUT_SECONDS.",
                hint="Raise the lease to twice the one and 1.25 times the other, or lower the timeouts.",
                id="producer.E004",
            )
        ]
    return []


@register(Tags.database)
def deadlines_hold(app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """producer.W005: behind a pool the deadlines come from the role; without them one lock holds up a thread for ever."""
    if not databases or "default" not in databases or connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_settings WHERE name = ANY(%s) AND setting = '0'", [DEADLINES])
        missing = sorted(name for (name,) in cursor.fetchall())
    if not missing:
        return []
    return [
        Warning(
            f"The database sets no {', '.join(missing)} for this role.",
            hint="ALTER ROLE … SET them, as ops/postgres/roles.sql does; with DATABASE_POOLED they cannot come from here.",
            id="producer.W005",
        )
    ]


@register(deploy=True)
def not_embedded(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """producer.W002: SQLite and the filesystem broker are for the first five minutes."""
    if connection.vendor == "sqlite" or settings.BROKER_URL.startswith("filesystem:"):
        return [
            Warning(
                "The embedded database or broker is in use.",
                hint="Set DATABASE_URL (PostgreSQL) and BROKER_URL (RabbitMQ).",
                id="producer.W002",
            )
        ]
    return []


@register(deploy=True)
def second_factor_is_asked_for(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """producer.W004: behind the admin are keys and money; a password alone is often known to somebody else."""
    if not settings.ADMIN_SECOND_FACTOR:
        return [
            Warning(
                "The admin opens with a password alone.",
                hint="Remove ADMIN_SECOND_FACTOR=false: people enrol an authenticator app at their next log-in.",
                id="producer.W004",
            )
        ]
    return []


@register(deploy=True)
def encrypted_on_the_way(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """producer.W006: passwords, account numbers and amounts in the clear between machines."""
    open_ways = []
    if connection.vendor == "postgresql" and _leaves_the_machine(settings.DATABASE_URL):
        # As libpq takes it where the URL names none.
        mode = connection.settings_dict["OPTIONS"].get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
        if mode not in {"verify-ca", "verify-full"}:
            open_ways.append(f"DATABASE_URL (sslmode is {mode}; add ?sslmode=verify-full&sslrootcert=/path/ca.pem)")
    names = ["BROKER_URL", "TASKS_BROKER_URL"]
    if settings.READ_BROKER_URL not in {settings.BROKER_URL, settings.TASKS_BROKER_URL}:
        names.append("READ_BROKER_URL")
    for name in names:
        url = getattr(settings, name)
        if url.startswith("amqp") and any(
            not one.strip().startswith("amqps://") and _leaves_the_machine(one) for one in url.split(";")
        ):
            open_ways.append(f"{name} (amqp://; use amqps:// and BROKER_CA_FILE)")
    return [
        Warning(
            f"What is sent by {way.partition(' ')[0]} can be read, or answered by somebody else, on the way.",
            hint=f"Turn on TLS: {way}. In a network that encrypts by itself, list producer.W006 in SILENCED_SYSTEM_CHECKS.",
            id="producer.W006",
        )
        for way in open_ways
    ]


def _leaves_the_machine(url: str) -> bool:
    return any(address.host not in LOOPBACK for address in addresses(url))
