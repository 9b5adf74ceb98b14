"""System checks with ids and hints, one for each misconfiguration that would only show at night."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connection
from django.utils.module_loading import import_string

from webhooks.keys import consumer_keys, result_keys
from webhooks.signing_keys import MIN_SECRET_BYTES, KeyFormatError, SymmetricKey


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
    """producer.E003, W001: without keys no result is accepted and no fallback is signed."""
    found: list[CheckMessage] = []
    for name, load in (("RESULT_WEBHOOK_SECRETS", result_keys), ("CONSUMER_WEBHOOK_SECRETS", consumer_keys)):
        try:
            keys = load()
            if any(isinstance(key, SymmetricKey) and len(key.secret) < MIN_SECRET_BYTES for key in keys):
                found.append(
                    Warning(
                        f"{name} has a secret of fewer than {MIN_SECRET_BYTES} bytes.",
                        hint="Make a new one: 24 to 64 random bytes.",
                        id="producer.W003",
                    )
                )
            if not keys:
                found.append(
                    Warning(f"{name} is empty.", hint="Set it to one or more whsec_ secrets.", id="producer.W001")
                )
        except KeyFormatError as error:
            found.append(Error(f"{name}: {error}", hint="A secret is whsec_ and base64.", id="producer.E003"))
    return found


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
