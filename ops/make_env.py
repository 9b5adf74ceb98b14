"""Writes .env from .env.example with a random secret for each fixme-…; refuses to touch one that is there."""

import base64
import os
import re
import secrets
import sys
from pathlib import Path


def filled(text: str) -> str:
    """`fixme-webhook…` becomes a Standard Webhooks secret, any other a hex word, which is safe inside a URL.

    The same fixme-… twice becomes the same secret: who signs and who verifies read it by two names.
    """
    made = {word: _secret(word) for word in re.findall(r"\bfixme-[\w-]+", text)}
    return re.sub(r"\bfixme-[\w-]+", lambda match: made[match[0]], text)


def _secret(word: str) -> str:
    if word.startswith("fixme-webhook"):
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(32)


def main(example: Path, target: Path) -> int:
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target} is there and stays as it is. Compare it with {example}, which is newer.", file=sys.stderr)
        return 0
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        output.write(filled(example.read_text(encoding="utf-8")))
    print(f"wrote {target} (only you can read it)")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
