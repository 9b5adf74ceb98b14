"""The keys of both directions that are active now: those from settings, and those from the database, a moment old.

Deliveries pay no query: the database's keys are cached per process, with their times, so that each starts and ends on time.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.db import OperationalError

from webhooks import key_store
from webhooks.key_store import StoredKey, public_half
from webhooks.models import WebhookKey
from webhooks.rate import TokenBucket
from webhooks.signing import Reason, SignatureError, Verified, verify
from webhooks.signing_keys import Key, load_key

log = logging.getLogger(__name__)

Direction = WebhookKey.Direction
# How old a process's picture of the stored keys may be (seconds): so long a key retired at once may still be accepted.
# Shorter costs queries, longer keeps a stolen key alive.
CACHE_SECONDS = 5.0
# A signature by no known key may be by one that is new: look again, but not more often than this (a second, and at once),
# or forged deliveries would cost a query each. While somebody floods, a new key may need CACHE_SECONDS to be known.
LOOKS_PER_SECOND, LOOKS_AT_ONCE = 5, 10


@dataclass(frozen=True, slots=True)
class _Picture:
    """The stored keys, with all that were there at `taken` (monotonic seconds); not `known` until the database answered."""

    stored: tuple[StoredKey, ...] = ()
    taken: float = float("-inf")
    known: bool = False


_picture = _Picture()
_lock = threading.Lock()
_looks = TokenBucket(LOOKS_PER_SECOND, LOOKS_AT_ONCE)
# The minute in which this process last wrote that a key was used, by direction and key id.
_used: dict[tuple[str, str], int] = {}


def result_keys() -> tuple[Key, ...]:
    """What the Consumer may sign results with. Raises KeyFormatError for a malformed secret in settings (a check does too)."""
    return _active(Direction.RESULT)


def consumer_keys() -> tuple[Key, ...]:
    """What the Producer signs its fallback POSTs with: every one of them, so that the Consumer can rotate. Counts as use."""
    keys = _active(Direction.CONSUMER)
    _note_use(Direction.CONSUMER, [key.key_id for key in keys])
    return keys


def can_sign() -> bool:
    """Whether there is anything to sign fallback POSTs with; a secret that is malformed is for `consumer_keys` to report."""
    return bool(settings.CONSUMER_WEBHOOK_SECRETS) or has_active(Direction.CONSUMER)


def has_active(direction: str) -> bool:
    """Whether the database has an active key of the direction; not if it does not answer."""
    return bool(_stored(direction))


def prove_result(headers: Mapping[str, str], body: bytes, now: float | None, tolerance_seconds: int) -> Verified:
    """Who signed this result; see `signing.verify`. A key that is seconds old is known, its use is noted.

    Raises SignatureError, or OperationalError while the stored keys were never read: then nobody can say that it is forged.
    """
    try:
        verified = verify(result_keys(), headers, body, now, tolerance_seconds)
    except SignatureError as error:
        if error.reason not in {Reason.SIGNATURE_WRONG, Reason.NO_KEY}:
            raise
        if not _looks.take():
            _look_again()
        if not _picture.known:
            raise OperationalError("the stored webhook keys are not known yet") from None
        verified = verify(result_keys(), headers, body, now, tolerance_seconds)
    _note_use(Direction.RESULT, [verified.key_id])
    return verified


def from_settings(direction: str) -> tuple[Key, ...]:
    """The keys in the environment, without the database: for system checks. Raises KeyFormatError."""
    secrets = settings.RESULT_WEBHOOK_SECRETS if direction == Direction.RESULT else settings.CONSUMER_WEBHOOK_SECRETS
    return _load(tuple(secrets))


def published() -> list[StoredKey]:
    """Keys of the Producer with a public half that are, or will be, active. Raises OperationalError when unknown."""
    _look()
    if not _picture.known:
        raise OperationalError("the stored webhook keys are not known yet")
    now = time.time()
    fixed = [
        StoredKey(Direction.CONSUMER, key, public_half(key), None, None) for key in from_settings(Direction.CONSUMER)
    ]
    stored = [item for item in _picture.stored if item.direction == Direction.CONSUMER and not item.retired(now)]
    return [item for item in [*fixed, *stored] if item.public]


def forget() -> None:
    """The next use reads the stored keys: for whoever has just changed them in this process."""
    global _picture
    _picture = _Picture()
    _used.clear()


@lru_cache(maxsize=8)
def _load(secrets: tuple[str, ...]) -> tuple[Key, ...]:
    # Senders exist with shorter secrets than the spec's 24 bytes; a system check warns of ours.
    return tuple(load_key(secret, allow_short=True) for secret in secrets)


def _active(direction: str) -> tuple[Key, ...]:
    # A secret may stand in both places; signed with twice it would only make the header longer.
    return tuple(dict.fromkeys([*from_settings(direction), *_stored(direction)]))


def _stored(direction: str) -> list[Key]:
    _look()
    now = time.time()
    return [item.key for item in _picture.stored if item.direction == direction and item.active(now)]


def _look() -> None:
    """Reads the stored keys if the picture is old. One thread reads; the others go on with what was known."""
    if time.monotonic() - _picture.taken < CACHE_SECONDS or not _lock.acquire(blocking=not _picture.known):
        return
    try:
        if time.monotonic() - _picture.taken >= CACHE_SECONDS:
            _read()
    finally:
        _lock.release()


def _look_again() -> None:
    """Reads them unless somebody began to after this call: then that one has seen whatever is meant."""
    asked = time.monotonic()
    with _lock:
        if _picture.taken < asked:
            _read()


def _read() -> None:
    """Call it with the lock."""
    global _picture
    started = time.monotonic()
    try:
        _picture = _Picture(key_store.read(), started, known=True)
    except Exception as error:
        # Whatever is wrong with the database must not cost the keys that need none. Stamped at the end, so that those who
        # waited do not all try in turn: it may hang.
        log.warning("stored webhook keys not read", extra={"reason": type(error).__name__})
        _picture = _Picture(_picture.stored, time.monotonic(), _picture.known)


def _note_use(direction: str, key_ids: Iterable[str]) -> None:
    """Once a minute per stored key and process one conditional UPDATE; for all other deliveries a look into a dict."""
    minute = int(time.time() // 60)
    stored = {item.key_id for item in _picture.stored if item.direction == direction}
    for key_id in stored.intersection(key_ids):
        if _used.get((direction, key_id)) == minute:
            continue
        _used[direction, key_id] = minute
        try:
            key_store.note_use(direction, key_id, minute)
        except Exception as error:
            # It is for people; a delivery must not fail for it.
            log.warning("use of a webhook key not noted", extra={"key_id": key_id, "reason": type(error).__name__})
