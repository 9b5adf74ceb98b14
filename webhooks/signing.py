"""Standard Webhooks 1.0.0 over raw bytes: `v1` (HMAC-SHA256) and `v1a` (ed25519), signing and verifying.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. Own code because PyPI
`standardwebhooks` raises ValueError and worse on malformed headers (a 500, so the sender retries for days), takes
`1614_265330` for a timestamp and knows no `v1a`; the tests use it as a peer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from webhooks.signing_keys import (
    Key,
    KeyFormatError,
    SigningKey,
    SymmetricKey,
    VerifyKey,
    generate_secret,
    generate_signing_pair,
    load_key,
)

__all__ = [
    "Key",
    "KeyFormatError",
    "Reason",
    "SignatureError",
    "SigningKey",
    "SymmetricKey",
    "Verified",
    "VerifyKey",
    "generate_secret",
    "generate_signing_pair",
    "load_key",
    "sign",
    "verify",
]

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

# Seconds between the sender's clock and ours, either way. Larger widens the time in which a stolen delivery can be
# replayed before the inbox has the id; smaller refuses good senders with a slow clock.
TOLERANCE_SECONDS = 300
# Signatures looked at. Two keys in rotation, in two schemes, at both ends need four; each costs us an ed25519 check.
MAX_SIGNATURES = 16
# Characters of the signature header, about what servers take for any header line.
MAX_SIGNATURE_CHARACTERS = 8_192

# Printable ASCII but the space and the dot: a dot would let the id and the timestamp trade characters.
_ID = re.compile(r"[!-\-/-~]{1,255}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_MAX_TIMESTAMP = 999_999_999_999


class Reason(StrEnum):
    """Why a delivery was refused: a label for a metric. The two about time are `webhook-timestamp-invalid`."""

    NO_KEY = "no-key"
    HEADER_MISSING = "header-missing"
    ID_MALFORMED = "id-malformed"
    TIMESTAMP_MALFORMED = "timestamp-malformed"
    SIGNATURE_MALFORMED = "signature-malformed"
    SIGNATURE_WRONG = "signature-wrong"
    TIMESTAMP_OUTSIDE = "timestamp-outside"


class SignatureError(Exception):
    """The delivery is not proven to come from a holder of a key (401); the only exception of `verify`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class Verified:
    """A proven delivery: its id, the sender's clock in unix seconds, and the key that proved it."""

    webhook_id: str
    timestamp: int
    key_id: str


def sign(keys: Key | Iterable[Key], webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` value: one `version,base64` per key, space separated. `timestamp` in unix seconds.

    Raises ValueError for an id or a timestamp that a receiver would refuse, for no key and for a public key.
    """
    keys = [keys] if isinstance(keys, SymmetricKey | SigningKey | VerifyKey) else list(keys)
    if not keys:
        raise ValueError("nothing to sign with")
    if not _ID.fullmatch(webhook_id):
        raise ValueError("a webhook-id has 1 to 255 printable ASCII characters, no space and no dot")
    if isinstance(timestamp, bool) or not isinstance(timestamp, int) or not 0 <= timestamp <= _MAX_TIMESTAMP:
        raise ValueError("a webhook-timestamp is whole unix seconds")
    content = _content(webhook_id, str(timestamp), body)
    return " ".join(_entry(key, content) for key in keys)


def verify(
    keys: Iterable[Key],
    headers: Mapping[str, str],
    body: bytes,
    now: float | None,
    tolerance_seconds: int = TOLERANCE_SECONDS,
) -> Verified:
    """Return who sent this, or raise SignatureError and nothing else, whatever the headers hold.

    Header names in any case. `now` in unix seconds, whole seconds count: ±tolerance is accepted, one more is not; None
    skips the age, for a queue that may be slow. Every key is tried and compared in constant time, without early exit.
    """
    webhook_id, timestamp, signatures = _headers(headers)
    content = _content(webhook_id, timestamp, body)
    tried, matched = 0, None
    for key in keys:
        tried += 1
        if _proves(key, content, signatures) and matched is None:
            matched = key
    if not tried:
        raise SignatureError(Reason.NO_KEY)
    if matched is None:
        raise SignatureError(Reason.SIGNATURE_WRONG)
    # After the signature: a stranger learns nothing about our clock, and a wrong key is not reported as a slow one.
    if now is not None and abs(math.floor(now) - int(timestamp)) > tolerance_seconds:
        raise SignatureError(Reason.TIMESTAMP_OUTSIDE)
    return Verified(webhook_id, int(timestamp), matched.key_id)


def _headers(headers: Mapping[str, str]) -> tuple[str, str, list[tuple[str, bytes]]]:
    found: dict[str, str] = {}
    # From the queue the headers are JSON that nobody has checked: any shape, any type.
    if not isinstance(headers, Mapping):
        raise SignatureError(Reason.HEADER_MISSING)
    for name, value in headers.items():
        lower = name.lower() if isinstance(name, str) else ""
        if lower in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER):
            # Twice in two spellings: two readers could choose differently.
            found[lower] = value if isinstance(value, str) and lower not in found else ""
    if len(found) != 3:
        raise SignatureError(Reason.HEADER_MISSING)
    if not _ID.fullmatch(found[ID_HEADER]):
        raise SignatureError(Reason.ID_MALFORMED)
    if not _TIMESTAMP.fullmatch(found[TIMESTAMP_HEADER]):
        raise SignatureError(Reason.TIMESTAMP_MALFORMED)
    signatures = _signatures(found[SIGNATURE_HEADER])
    if not signatures:
        raise SignatureError(Reason.SIGNATURE_MALFORMED)
    return found[ID_HEADER], found[TIMESTAMP_HEADER], signatures


def _signatures(header: str) -> list[tuple[str, bytes]]:
    """Return (version, bytes) of the first MAX_SIGNATURES well-formed entries of a version we know; skip the others."""
    if len(header) > MAX_SIGNATURE_CHARACTERS:
        return []
    signatures: list[tuple[str, bytes]] = []
    for entry in header.split(" "):
        version, _, text = entry.partition(",")
        if version not in ("v1", "v1a"):
            continue
        try:
            signature = base64.b64decode(text, validate=True)
        except ValueError:
            continue
        # Python ignores the unused bits of the last character; one signature has one spelling here.
        if signature and base64.b64encode(signature).decode("ascii") == text:
            signatures.append((version, signature))
        if len(signatures) == MAX_SIGNATURES:
            break
    return signatures


def _proves(key: Key, content: bytes, signatures: list[tuple[str, bytes]]) -> bool:
    # The key decides the scheme, never the header: a public key used as an HMAC secret would let anybody sign.
    proven = False
    if isinstance(key, SymmetricKey):
        expected = hmac.digest(key.secret, content, hashlib.sha256)
        for version, signature in signatures:
            proven |= version == "v1" and hmac.compare_digest(expected, signature)
        return proven
    for version, signature in signatures:
        if version == "v1a":
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(signature, content)
                proven = True
            except InvalidSignature:
                pass
    return proven


def _entry(key: Key, content: bytes) -> str:
    if isinstance(key, SymmetricKey):
        version, signature = "v1", hmac.digest(key.secret, content, hashlib.sha256)
    elif isinstance(key, SigningKey):
        version, signature = "v1a", Ed25519PrivateKey.from_private_bytes(key.seed).sign(content)
    else:
        raise ValueError("a whpk_ key cannot sign")
    return f"{version},{base64.b64encode(signature).decode('ascii')}"


def _content(webhook_id: str, timestamp: str, body: bytes) -> bytes:
    return f"{webhook_id}.{timestamp}.".encode("ascii") + body
