"""Amounts and account numbers for those who may see them; for the others dots in their place.

The settings name the permission, and the members of documents that anybody may see: what nobody thought of is masked.
"""

import json
import re
from typing import Any

from django.conf import settings
from django.http import HttpRequest

MASK = "•••"
# An id is no account number, however many digits it has.
_ID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
# Four digits or more in a row, with what stands between groups of them: amounts, account numbers, IBANs with their country.
_FIGURES = re.compile(rf"(?P<id>{_ID})|[A-Z]{{0,2}}\d[\d ./:,'-]*\d[A-Z0-9]*|\d*[.,]\d+")
_MIN_DIGITS = 4


def may_see(request: HttpRequest) -> bool:
    """Whether this person may see amounts and account numbers."""
    return request.user.has_perm(settings.ADMIN_SENSITIVE_PERMISSION)


def mask_value(value: Any) -> str:
    """Dots, with the last four characters of what is long enough that they give little away."""
    text = str(value)
    return f"{MASK}{text[-4:]}" if len(text) >= 12 else MASK


def mask_text(text: str) -> str:
    """Free text (an error, a reason) without what may be an amount or an account number."""
    return _FIGURES.sub(lambda found: found[0] if found["id"] or not _telling(found[0]) else MASK, text)


def _telling(figures: str) -> bool:
    return sum(character.isdigit() for character in figures) >= _MIN_DIGITS or "." in figures or "," in figures


def mask_document(document: Any) -> Any:
    """A JSON object with only the members that are known to tell nothing; dots for all others, whatever they hold."""
    if isinstance(document, dict):
        return {
            name: mask_document(value) if name in settings.ADMIN_PLAIN_MEMBERS or value is None else MASK
            for name, value in document.items()
        }
    return [mask_document(value) for value in document] if isinstance(document, list) else document


def shown_body(raw: bytes | str, *, full: bool) -> str:
    """A message body for people: indented JSON, masked unless `full`. What is no JSON only those see who may see all."""
    text = raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")
    try:
        document = json.loads(text, object_pairs_hook=_once)
        if not isinstance(document, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError):
        return text if full else f"({len(raw)} bytes that are no JSON object; shown to those who may see amounts.)"
    if full:
        return json.dumps(document, indent=2, ensure_ascii=False)
    return json.dumps(mask_document(document), indent=2, ensure_ascii=False)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two members with one name the usual reading shows only the last; such a body is shown as it came."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands there twice")
    return found
