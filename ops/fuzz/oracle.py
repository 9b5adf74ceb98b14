"""What a fuzzer holds the door for results to, told without any code of the door."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
# The clock moves between the oracle's look and the door's (seconds).
SLACK = 5


def signature_of(secret: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    """The one good `v1` entry."""
    content = f"{webhook_id}.{timestamp}.".encode("latin-1", "replace") + body
    return "v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()


def may_accept(secret: bytes, headers: Mapping[str, str], body: bytes, now: float | None) -> bool:
    """Whether anything in the headers proves the secret; lenient in form, so that only a false accept breaks it."""
    webhook_id, timestamp, signatures = (headers.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE))
    if "." in webhook_id or not re.fullmatch("[0-9]+", timestamp):
        return False
    if now is not None and abs(now - int(timestamp)) > 300 + SLACK:
        return False
    return signature_of(secret, webhook_id, timestamp, body) in re.split(r"\s+", signatures)


def wrong(status: int, allowed: bool) -> str:
    """Why this answer is a finding; empty when it is none. 422 is the answer to a good signature over a used id."""
    if status >= 500:
        return f"a {status} for bad input"
    if status in {200, 202, 422} and not allowed:
        return f"a false accept ({status})"
    return ""
