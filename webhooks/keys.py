"""The keys of both directions, from settings; several are active at once, for rotation."""

from functools import lru_cache

from django.conf import settings

from webhooks.signing_keys import Key, load_key


@lru_cache(maxsize=8)
def _load(secrets: tuple[str, ...]) -> tuple[Key, ...]:
    # Senders exist with shorter secrets than the spec's 24 bytes; a system check warns of ours.
    return tuple(load_key(secret, allow_short=True) for secret in secrets)


def result_keys() -> tuple[Key, ...]:
    """What the Consumer may sign results with. Raises KeyFormatError for a malformed secret (a check says so too)."""
    return _load(tuple(settings.RESULT_WEBHOOK_SECRETS))


def consumer_keys() -> tuple[Key, ...]:
    """What the Producer signs its fallback POSTs with: every one of them, so that the Consumer can rotate."""
    return _load(tuple(settings.CONSUMER_WEBHOOK_SECRETS))
