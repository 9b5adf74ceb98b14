"""Standard Webhooks 1.0.0, both ways: v1 (HMAC-SHA256) and v1a (ed25519). Verifying never raises. Pure."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# Seconds that a timestamp may be off, the standard's figure; a wider window gives a replayed copy longer to live.
TOLERANCE_SECONDS = 300
# Entries looked at in one signature header; a longer list is only work for us.
MAX_SIGNATURES = 32

# No full stop: it separates the parts of what is signed, so an id with one could be read in two ways.
_ID = re.compile(r"[A-Za-z0-9_:~+=@/-]{1,255}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class SecretError(Exception):
    """A secret that cannot be used; the message never holds the secret."""


class SignatureError(Exception):
    """The request is not authentic; the message says why, for the log only."""


@dataclass(frozen=True)
class Key:
    """One secret: shared (HMAC), or one half or both halves of an ed25519 pair."""

    shared: bytes | None = field(default=None, repr=False)
    private: Ed25519PrivateKey | None = field(default=None, repr=False)
    public: Ed25519PublicKey | None = field(default=None, repr=False)

    @property
    def can_sign(self) -> bool:
        return self.shared is not None or self.private is not None

    def sign(self, message: bytes) -> str:
        if self.shared is not None:
            return "v1," + base64.b64encode(hmac.digest(self.shared, message, hashlib.sha256)).decode()
        if self.private is not None:
            return "v1a," + base64.b64encode(self.private.sign(message)).decode()
        raise SecretError("a whpk_ key only verifies")

    def verifies(self, version: str, signature: bytes, message: bytes) -> bool:
        if version == "v1" and self.shared is not None:
            return hmac.compare_digest(hmac.digest(self.shared, message, hashlib.sha256), signature)
        if version == "v1a" and self.public is not None:
            try:
                self.public.verify(signature, message)
            except InvalidSignature:
                return False
            return True
        return False


def load_key(secret: str) -> Key:
    """A Key from whsec_… (or a bare base64 secret), whsk_… or whpk_…; padding may be missing. Raises SecretError."""
    prefix, _, encoded = secret.partition("_") if secret.startswith(("whsec_", "whsk_", "whpk_")) else ("", "", secret)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretError("it is not base64") from error
    if prefix == "whsk":
        if len(raw) != 64:
            raise SecretError("a whsk_ key has 64 bytes, seed and public key")
        private = Ed25519PrivateKey.from_private_bytes(raw[:32])
        return Key(private=private, public=private.public_key())
    if prefix == "whpk":
        if len(raw) != 32:
            raise SecretError("a whpk_ key has 32 bytes")
        return Key(public=Ed25519PublicKey.from_public_bytes(raw))
    if not raw:
        raise SecretError("it is empty")
    return Key(shared=raw)


def sign(keys: Sequence[Key], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of one attempt, with a signature by each key."""
    if not _ID.fullmatch(message_id):
        raise SignatureError("webhook-id malformed")
    message = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(key.sign(message) for key in keys),
    }


def verify(
    keys: Sequence[Key], message_id: str | None, timestamp: str | None, signatures: str | None, body: bytes, now: float
) -> str:
    """The webhook-id of an authentic request. Raises SignatureError, and nothing else, for any other input.

    Each key is tried on each entry without an early exit, so the time taken does not tell which key matched.
    """
    if not message_id or not _ID.fullmatch(message_id):
        raise SignatureError("webhook-id missing or malformed")
    if not timestamp or not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureError("webhook-timestamp missing or malformed")
    if not signatures:
        raise SignatureError("webhook-signature missing")
    message = b"%b.%b.%b" % (message_id.encode(), timestamp.encode(), body)
    matches = 0
    for entry in signatures.split(" ")[:MAX_SIGNATURES]:
        version, comma, encoded = entry.partition(",")
        if not comma or version not in ("v1", "v1a"):
            continue
        try:
            signature = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        matches += sum(key.verifies(version, signature, message) for key in keys)
    if not matches:
        raise SignatureError("no signature matches")
    if abs(int(now) - int(timestamp)) > TOLERANCE_SECONDS:
        raise SignatureError("webhook-timestamp is too far from our clock")
    return message_id
