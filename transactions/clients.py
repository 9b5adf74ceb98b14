"""API clients and their keys: made once, shown once, stored hashed, checked on every request."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from transactions.models import ApiClient, ApiKey, ClientRate

KEY_PREFIX = "pk_"
# `last_used_at` is written at most this often per key (seconds): it is for people, and a write per request is not free.
LAST_USED_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request, and by which key. `id` is the client's. Not `proven`: the key was good a moment ago."""

    id: int
    name: str
    key_id: int
    proven: bool = True
    is_authenticated: bool = True


class KeyRefusedError(Exception):
    """The key was revoked, or ran out, since it was last looked at."""


def create_client(name: str) -> str:
    """Makes the client if there is none of that name, gives it a new key, and returns that: shown this once."""
    with transaction.atomic():
        client, _ = ApiClient.objects.get_or_create(name=name)
        ClientRate.objects.get_or_create(client=client)
        return add_key(client)


def add_key(client: ApiClient, expires_at: datetime | None = None) -> str:
    """One more key for `client`; the old ones go on working until they are revoked."""
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    ApiKey.objects.create(client=client, prefix=key[:10], hash=digest(key), expires_at=expires_at)
    return key


def revoke_keys(ids: Iterable[int]) -> int:
    """The keys fail from the next request on; returns how many still worked. Pressing twice changes nothing."""
    return ApiKey.objects.filter(pk__in=list(ids), revoked_at=None).update(revoked_at=timezone.now())


def set_active(ids: Iterable[int], active: bool) -> int:
    """Lets clients in, or keeps all their keys out, from the next request on; returns how many changed."""
    return ApiClient.objects.filter(pk__in=list(ids), active=not active).update(active=active)


def digest(key: str) -> bytes:
    """SHA-256: enough for a key of 256 random bits, and fast, since it is done on every request."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


_LOOK_UP = """
    SELECT k.id, c.id, c.name, k.last_used_at
      FROM transactions_apikey k JOIN transactions_apiclient c ON c.id = k.client_id
     WHERE k.hash = %s AND k.revoked_at IS NULL AND c.active AND (k.expires_at IS NULL OR k.expires_at > %s)
"""


def is_good(key_id: int) -> bool:
    """Whether the key may be used now: for a caller that is not `proven`."""
    usable = Q(expires_at=None) | Q(expires_at__gt=Now())
    return ApiKey.objects.filter(usable, pk=key_id, revoked_at=None, client__active=True).exists()


def authenticate(key: str) -> Caller | None:
    """The caller for `key`, or None. One look-up by hash; nothing is cached, so a revocation acts at once."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_LOOK_UP, [digest(key), now])
        row = cursor.fetchone()
    if row is None:
        return None
    key_id, client_id, name, last_used_at = row
    if last_used_at is not None and timezone.is_naive(last_used_at):
        # SQLite keeps UTC without saying so.
        last_used_at = last_used_at.replace(tzinfo=UTC)
    if last_used_at is None or now - last_used_at > timedelta(seconds=LAST_USED_SECONDS):
        ApiKey.objects.filter(pk=key_id).update(last_used_at=now)
    return Caller(client_id, name, key_id)
