"""Keyset pagination over ids, newest first, with signed opaque cursors; and the list's filters."""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote_to_bytes
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast
from django.http import QueryDict

from outbox.ids import first_at
from transactions.idempotency import read_key
from transactions.models import IdempotencyKey, Transaction, owned_by
from transactions.moments import FieldValueError, read_moment
from transactions.money import CURRENCIES
from transactions.parsing import find_bad_text
from transactions.problems import ProblemError
from transactions.serializers import ACCOUNT_NUMBER, MAX_EXTERNAL_ID
from transactions.states import Status

DEFAULT_LIMIT, MAX_LIMIT = 25, 100
_LIMIT = re.compile(r"[1-9][0-9]{0,2}")
_SIGNATURE_BYTES = 12
# How many rows `updated_gte` looks through in order of the list before it goes by the time of the change. More costs each
# poll that finds little; fewer send a page in the wake of an outage through all that changed.
WALK_ROWS = 1000

Rows = QuerySet[Transaction]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `next_cursor` is None on the last."""

    rows: list[Transaction]
    next_cursor: str | None


def invalid(name: str, detail: str) -> ProblemError:
    """400 `invalid-parameter` naming the parameter."""
    return ProblemError("invalid-parameter", f"{name}: {detail}")


def _by_status(rows: Rows, value: str, _: int) -> Rows:
    if value not in set(Status):
        raise invalid("status", f"must be one of {', '.join(Status)}.")
    return rows.filter(status=value)


def _by_account(rows: Rows, value: str, _: int) -> Rows:
    if not ACCOUNT_NUMBER.fullmatch(value):
        raise invalid("account_number", "is none that a transaction can have.")
    return rows.filter(account_number=value)


def _by_external_id(rows: Rows, value: str, _: int) -> Rows:
    if not 1 <= len(value) <= MAX_EXTERNAL_ID:
        raise invalid("external_id", f"must have 1 to {MAX_EXTERNAL_ID} characters.")
    return rows.filter(external_id=value)


def _by_currency(rows: Rows, value: str, client_id: int) -> Rows:
    # One that has left the list of active ones is still looked for where there is something in it.
    if value not in CURRENCIES and not owned_by(client_id).using(rows.db).filter(currency=value).exists():
        raise invalid("currency", "must be an active ISO 4217 code, or one that a transaction of yours has.")
    return rows.filter(currency=value)


def _by_key(rows: Rows, value: str, client_id: int) -> Rows:
    try:
        key = read_key(value)
    except ProblemError:
        raise invalid("idempotency_key", "must be as in the header: 1 to 255 printable ASCII characters.") from None
    row = (
        IdempotencyKey.objects.using(rows.db)
        .filter(client_id=client_id, key=key)
        .values_list("transactions", flat=True)
        .first()
    )
    return rows.filter(id__in=row or [])


def _since(rows: Rows, value: str, _: int) -> Rows:
    # created_at is the time inside the id, so the list's own index answers.
    return rows.filter(id__gte=first_at(_moment("created_gte", value)))


def _before(rows: Rows, value: str, _: int) -> Rows:
    return rows.filter(id__lt=first_at(_moment("created_lt", value)))


def _moment(name: str, value: str) -> datetime:
    try:
        # A plus sign that was not encoded arrives as a space.
        return read_moment(value.replace(" ", "+"))
    except FieldValueError as error:
        raise invalid(name, str(error)) from None


FILTERS: dict[str, Callable[[Rows, str, int], Rows]] = {
    "status": _by_status,
    "account_number": _by_account,
    "external_id": _by_external_id,
    "idempotency_key": _by_key,
    "currency": _by_currency,
    "created_gte": _since,
    "created_lt": _before,
    "updated_gte": lambda rows, value, _: rows.filter(updated_at__gte=_moment("updated_gte", value)),
}


def refuse_query(query: QueryDict, allowed: frozenset[str] = frozenset()) -> dict[str, str]:
    """The parameters. Raises ProblemError 400 for one that is unknown here, given twice, or has control characters."""
    for name, values in query.lists():
        if name not in allowed:
            raise ProblemError("invalid-parameter", "There is a query parameter that this path does not know.")
        if len(values) != 1:
            raise invalid(name, "may be given once.")
        if find_bad_text(values[0]):
            raise invalid(name, "has control characters.")
    return {name: str(query[name]) for name in query}


def query_of(text: str) -> QueryDict:
    """A query string as parameters. Raises ProblemError 400 where it is not UTF-8: Django would read U+FFFD, and find nothing.

    `text` as WSGI has it: a character for each byte (PEP 3333).
    """
    try:
        unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise ProblemError("invalid-parameter", "The query string is not UTF-8.") from None
    return QueryDict(text.encode("latin-1"))


def page_of(client_id: int, query: QueryDict, using: str) -> Page:
    """The page that `query` asks for, of that database. Raises ProblemError 400 for a bad cursor, limit or filter."""
    given = refuse_query(query, frozenset(FILTERS) | {"limit", "cursor"})
    limit = DEFAULT_LIMIT
    if "limit" in given:
        if not _LIMIT.fullmatch(given["limit"]) or int(given["limit"]) > MAX_LIMIT:
            raise invalid("limit", f"must be a whole number from 1 to {MAX_LIMIT}.")
        limit = int(given["limit"])
    rows = owned_by(client_id).using(using)
    for name, apply in FILTERS.items():
        if name in given and name != "updated_gte":
            rows = apply(rows, given[name], client_id)
    scope = _scope(client_id, given)
    after = _read_cursor(given["cursor"], scope) if "cursor" in given else None
    if after:
        rows = rows.filter(id__lt=after)
    if "updated_gte" in given:
        found = _updated_since(rows, owned_by(client_id).using(using), given["updated_gte"], after, limit + 1)
    else:
        found = list(rows.order_by("-id")[: limit + 1])
    more = len(found) > limit
    return Page(found[:limit], _cursor(found[limit - 1].id, scope) if more else None)


def _updated_since(rows: Rows, owned: Rows, since: str, after: UUID | None, count: int) -> list[Transaction]:
    """The newest `count` of `rows`, which are those of `owned` that pass the other filters, that changed at or after `since`.

    No index holds both orders, so up to three parts. What was created since has changed since: the list's own index answers,
    however deep the page. Of what is older, the next few in order of the list are looked through: after an outage most of
    them have changed, and they fill the page. Else little has: it is found by the time of the change (ordered by text, or
    the planner would walk through all that is older in order of id).
    """
    edge = first_at(_moment("updated_gte", since))
    found = list(rows.filter(id__gte=edge).order_by("-id")[:count])
    if len(found) == count:
        return found
    next_ids = owned.filter(id__lt=min(edge, after or edge)).order_by("-id").values_list("id", flat=True)
    end = next_ids[WALK_ROWS : WALK_ROWS + 1].first()
    late = FILTERS["updated_gte"](rows.filter(id__lt=edge), since, 0)
    near = late if end is None else late.filter(id__gt=end)
    found += near.order_by("-id")[: count - len(found)]
    if len(found) < count and end is not None:
        found += late.filter(id__lte=end).order_by(Cast("id", TextField()).desc())[: count - len(found)]
    return found


def _scope(client_id: int, given: dict[str, str]) -> bytes:
    """What a cursor is good for: this client and these filters (the limit may change)."""
    chosen = sorted((name, given[name]) for name in FILTERS if name in given)
    return repr((client_id, chosen)).encode("utf-8", "surrogatepass")


def _cursor(last: UUID, scope: bytes) -> str:
    return _spell(last.bytes + _sign(last.bytes, scope, settings.SECRET_KEY))


def _spell(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _read_cursor(cursor: str, scope: bytes) -> UUID:
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, UnicodeEncodeError):
        raise invalid("cursor", "take it from `next_cursor`.") from None
    last, signature = raw[:16], raw[16:]
    # Those that were handed out before SECRET_KEY changed are good as long as the old one is a fallback.
    proven = [
        hmac.compare_digest(signature, _sign(last, scope, key))
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]
    # base64 spells the same bytes in several ways; ours is one of them.
    if len(raw) != 16 + _SIGNATURE_BYTES or _spell(raw) != cursor or not any(proven):
        raise invalid("cursor", "take it from `next_cursor`, with the same filters.")
    return UUID(bytes=last)


def _sign(last: bytes, scope: bytes, secret_key: str) -> bytes:
    key = hashlib.sha256(b"cursor" + secret_key.encode()).digest()
    return hmac.digest(key, last + scope, "sha256")[:_SIGNATURE_BYTES]
