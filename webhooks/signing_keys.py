"""Keys of Standard Webhooks 1.0.0 as people paste them (`whsec_`, `whsk_`, `whpk_`), and how to make new ones.

Import them from `webhooks.signing`, which uses them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix
SIGNING_PREFIX = "whsk_"
VERIFY_PREFIX = "whpk_"
# Bytes of a shared secret (specification, "Signature scheme"). Shorter ones can be guessed from one delivery, offline.
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64
_SEED_BYTES = 32
_PUBLIC_BYTES = 32


class KeyFormatError(ValueError):
    """The text is no usable key. The message never repeats any of it: it ends up in logs and check output."""


@dataclass(frozen=True)
class SymmetricKey:
    """A shared secret for `v1` (HMAC-SHA256): signs and verifies."""

    secret: bytes = field(repr=False)
    key_id: str = ""


@dataclass(frozen=True)
class SigningKey:
    """The private half for `v1a` (ed25519): a seed of 32 bytes and the public key of 32 bytes that follows from it."""

    seed: bytes = field(repr=False)
    public: bytes
    key_id: str = ""


@dataclass(frozen=True)
class VerifyKey:
    """The public half for `v1a`, 32 bytes: verifies only."""

    public: bytes
    key_id: str = ""


Key = SymmetricKey | SigningKey | VerifyKey


def load_key(text: str, key_id: str = "", *, allow_short: bool = False) -> Key:
    """Return the key written as `whsec_…`, `whsk_…` or `whpk_…`; without a prefix it is a shared secret.

    Standard base64, padding optional, space around it ignored. Without a `key_id` it gets one from its hash, the same
    on every host. `allow_short` lifts the lower bound of a shared secret, for a peer that insists; never the empty one.
    Raises KeyFormatError.
    """
    text = text.strip()
    if text.startswith(("v1,", "v1a,")):
        raise KeyFormatError("remove everything up to the comma: a key starts with whsec_, whsk_ or whpk_")
    if text.startswith(SIGNING_PREFIX):
        return _signing_key(_decode(text.removeprefix(SIGNING_PREFIX)), key_id)
    if text.startswith(VERIFY_PREFIX):
        public = _decode(text.removeprefix(VERIFY_PREFIX))
        if len(public) != _PUBLIC_BYTES:
            raise KeyFormatError(f"a whpk_ key has {_PUBLIC_BYTES} bytes, not {len(public)}")
        return VerifyKey(public, key_id or _name(public))
    secret = _decode(text.removeprefix(SECRET_PREFIX))
    if len(secret) > MAX_SECRET_BYTES or (len(secret) < MIN_SECRET_BYTES and not allow_short):
        raise KeyFormatError(f"a secret has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {len(secret)}")
    return SymmetricKey(secret, key_id or _name(secret))


def generate_secret() -> str:
    """Return a new shared secret, `whsec_` and 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def generate_signing_pair() -> tuple[str, str]:
    """Return a new pair, (`whsk_…` to keep, `whpk_…` to hand out)."""
    seed = secrets.token_bytes(_SEED_BYTES)
    public = _public_of(seed)
    return (
        SIGNING_PREFIX + base64.b64encode(seed + public).decode("ascii"),
        VERIFY_PREFIX + base64.b64encode(public).decode("ascii"),
    )


def _signing_key(both: bytes, key_id: str) -> SigningKey:
    if len(both) != _SEED_BYTES + _PUBLIC_BYTES:
        raise KeyFormatError(f"a whsk_ key has {_SEED_BYTES + _PUBLIC_BYTES} bytes, not {len(both)}")
    seed, public = both[:_SEED_BYTES], both[_SEED_BYTES:]
    # A half pasted wrongly would sign what nobody can verify, and be noticed only at the other end.
    if _public_of(seed) != public:
        raise KeyFormatError("the two halves of this whsk_ key do not belong together")
    return SigningKey(seed, public, key_id or _name(public))


def _public_of(seed: bytes) -> bytes:
    public_key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return public_key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _decode(text: str) -> bytes:
    if not text:
        raise KeyFormatError("the key is empty")
    unpadded = text.rstrip("=")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise KeyFormatError("the key is not standard base64") from None


def _name(material: bytes) -> str:
    # 32 bits of a hash tell keys apart in logs and give nothing away about 192 random bits or more.
    return hashlib.sha256(b"key id\0" + material).hexdigest()[:8]
