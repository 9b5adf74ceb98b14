"""The demo's own secrets: made once, kept in var/ (0600), so that a second run in the same clone fits the first."""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

WEBHOOK_SECRET_BYTES = 32  # Standard Webhooks asks for 24 to 64


@dataclass(frozen=True)
class DemoKeys:
    secret_key: str
    consumer_secret_key: str
    result_webhook_secret: str
    consumer_webhook_secret: str
    admin_password: str


def load_or_make(path: Path) -> DemoKeys:
    known = _read(path)
    made = DemoKeys(
        secret_key=known.get("secret_key") or secrets.token_urlsafe(50),
        consumer_secret_key=known.get("consumer_secret_key") or secrets.token_urlsafe(50),
        result_webhook_secret=known.get("result_webhook_secret") or webhook_secret(),
        consumer_webhook_secret=known.get("consumer_webhook_secret") or webhook_secret(),
        admin_password=known.get("admin_password") or secrets.token_urlsafe(12),
    )
    if asdict(made) != known:
        write_private(path, json.dumps(asdict(made), indent=1))
    return made


def webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(WEBHOOK_SECRET_BYTES)).decode()


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # none yet, or cut short by a crash: make new ones
    names = {field.name for field in fields(DemoKeys)}
    return {name: value for name, value in found.items() if name in names and isinstance(value, str)}


def write_private(path: Path, text: str) -> None:
    """Only its owner can read it. Written beside and moved over, so that a kill in between never leaves half a file."""
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        output.write(text)
    beside.replace(path)
