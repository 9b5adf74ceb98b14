"""Keys in the database: made, sealed with SECRET_KEY, rotated with an overlap, retired. The only file that writes them."""

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from outbox.clock import database_now
from webhooks.models import WebhookKey
from webhooks.signing_keys import (
    VERIFY_PREFIX,
    Key,
    KeyFormatError,
    SymmetricKey,
    VerifyKey,
    generate_secret,
    generate_signing_pair,
    load_key,
)

log = logging.getLogger(__name__)

# How far back a new key starts: a host whose clock is behind the database's must not refuse what is signed with it.
CLOCK_SLACK = timedelta(minutes=1)

Direction, Kind = WebhookKey.Direction, WebhookKey.Kind


class KeyRequestError(ValueError):
    """The operator asked for what makes no sense; the text says what to do instead."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key with its direction and its times (unix seconds; None: always was, has no end)."""

    direction: str
    key: Key
    public: str
    not_before: float | None
    retire_at: float | None

    @property
    def key_id(self) -> str:
        """As in logs, on inbox rows and in the admin."""
        return self.key.key_id

    def active(self, now: float) -> bool:
        """Whether it signs and verifies at `now`."""
        return (self.not_before or 0) <= now and not self.retired(now)

    def retired(self, now: float) -> bool:
        """Whether it is past its time at `now`."""
        return self.retire_at is not None and self.retire_at <= now


@dataclass(frozen=True, slots=True)
class NewKey:
    """What was made. `hand_out` goes to the other side: a shared secret, shown this once, or a public key."""

    row: WebhookKey
    hand_out: str


def public_half(key: Key) -> str:
    """whpk_… of a pair, as the other side wants it; empty for a shared secret."""
    return "" if isinstance(key, SymmetricKey) else VERIFY_PREFIX + base64.b64encode(key.public).decode()


def read() -> tuple[StoredKey, ...]:
    """Every key that is not yet retired. A row that SECRET_KEY does not open is left out and logged."""
    found = []
    for row in WebhookKey.objects.filter(Q(retire_at=None) | Q(retire_at__gt=database_now())).order_by("id"):
        try:
            key = load_key(open_sealed(row), row.key_id)
        except (InvalidToken, KeyFormatError):
            log.error("stored webhook key unreadable: was SECRET_KEY changed?", extra={"key_id": row.key_id})
            continue
        retire_at = row.retire_at.timestamp() if row.retire_at else None
        found.append(StoredKey(row.direction, key, row.public, row.not_before.timestamp(), retire_at))
    return tuple(found)


def open_sealed(row: WebhookKey) -> str:
    """The key as text. Raises InvalidToken when neither SECRET_KEY nor a fallback opens it."""
    if row.sealed is None:
        return row.public
    return _box(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS).decrypt(bytes(row.sealed)).decode()


def add(
    direction: str, *, public: str = "", ed25519: bool = False, note: str = "", not_before: datetime | None = None
) -> NewKey:
    """Makes a key, or takes the Consumer's public one. Raises KeyRequestError and KeyFormatError."""
    if public:
        if direction != Direction.RESULT:
            raise KeyRequestError("A public key verifies results; to sign fallback POSTs the Producer makes its own.")
        key = load_key(public)
        if not isinstance(key, VerifyKey):
            raise KeyRequestError("That is not a public key (whpk_…). A secret must not be given on a command line.")
        return _insert(direction, Kind.PUBLIC, public.strip(), public.strip(), "", note, not_before)
    if ed25519:
        if direction != Direction.CONSUMER:
            raise KeyRequestError(
                "The Consumer keeps the private half of its pair: add --public whpk_… with the other."
            )
        private, half = generate_signing_pair()
        return _insert(direction, Kind.SIGNING, private, half, private, note, not_before)
    secret = generate_secret()
    return _insert(direction, Kind.SHARED, secret, "", secret, note, not_before)


def rotate(
    direction: str, overlap: timedelta, *, public: str = "", ed25519: bool = False, note: str = ""
) -> tuple[NewKey, list[str]]:
    """Adds a key and lets the others of its direction end after the overlap; returns the new one and the others' ids.

    One that ends earlier anyhow still does. Both or neither: a new key without an end for the old is no rotation.
    """
    with transaction.atomic():
        now = database_now()
        old = WebhookKey.objects.select_for_update().filter(direction=direction)
        old = old.filter(Q(retire_at=None) | Q(retire_at__gt=now + overlap))
        ids = list(old.values_list("id", "key_id"))
        made = add(direction, public=public, ed25519=ed25519, note=note)
        WebhookKey.objects.filter(id__in=[row_id for row_id, _ in ids]).update(retire_at=now + overlap)
    return made, [key_id for _, key_id in ids]


def retire(ids: Sequence[int], after: timedelta = timedelta(0)) -> int:
    """Ends keys; returns how many end earlier than they did before. Pressing it twice changes nothing."""
    at = database_now() + after
    ending = WebhookKey.objects.filter(Q(retire_at=None) | Q(retire_at__gt=at), id__in=list(ids))
    return ending.update(retire_at=at)


def bare_without(ids: Sequence[int]) -> list[str]:
    """The directions of these keys that would have no active key left, counting those from settings."""
    now = database_now()
    others = WebhookKey.objects.filter(Q(retire_at=None) | Q(retire_at__gt=now), not_before__lte=now).exclude(
        id__in=ids
    )
    left = set(others.values_list("direction", flat=True))
    left |= {Direction.RESULT.value} if settings.RESULT_WEBHOOK_SECRETS else set()
    left |= {Direction.CONSUMER.value} if settings.CONSUMER_WEBHOOK_SECRETS else set()
    concerned = WebhookKey.objects.filter(id__in=list(ids)).values_list("direction", flat=True)
    return sorted(set(concerned) - left)


def reseal() -> int:
    """Seals every secret with today's SECRET_KEY, so that its fallbacks can go; returns how many."""
    changed = 0
    for row in WebhookKey.objects.exclude(sealed=None):
        sealed = seal(open_sealed(row))
        # Only what was read: a row that another reseal has just changed is fine as it is.
        changed += WebhookKey.objects.filter(id=row.id, sealed=row.sealed).update(sealed=sealed)
    return changed


def note_use(direction: str, key_id: str, minute: int) -> int:
    """Writes last_used_at, to the minute, unless some process did so in that minute."""
    moment = datetime.fromtimestamp(minute * 60, UTC)
    stale = Q(last_used_at=None) | Q(last_used_at__lt=moment)
    return WebhookKey.objects.filter(stale, direction=direction, key_id=key_id).update(last_used_at=moment)


def seal(secret: str) -> bytes:
    """The secret as it may lie in the database and its backups."""
    return _box(settings.SECRET_KEY).encrypt(secret.encode())


def _insert(
    direction: str, kind: str, text: str, public: str, secret: str, note: str, not_before: datetime | None
) -> NewKey:
    key_id = load_key(text).key_id
    if WebhookKey.objects.filter(direction=direction, key_id=key_id).exists():
        raise KeyRequestError(f"The key {key_id} is there already.")
    row = WebhookKey.objects.create(
        direction=direction,
        kind=kind,
        key_id=key_id,
        public=public,
        sealed=seal(secret) if secret else None,
        not_before=not_before or database_now() - CLOCK_SLACK,
        note=note,
    )
    log.info("webhook key added", extra={"key_id": key_id, "direction": direction, "kind": kind})
    return NewKey(row, public or secret)


@lru_cache(maxsize=8)
def _box(*secret_keys: str) -> MultiFernet:
    return MultiFernet([Fernet(_derive(secret_key)) for secret_key in secret_keys])


def _derive(secret_key: str) -> bytes:
    # A key of its own: what opens webhook secrets is not what signs sessions.
    derived = HKDF(SHA256(), 32, salt=None, info=b"webhooks.WebhookKey").derive(secret_key.encode())
    return base64.urlsafe_b64encode(derived)
