"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a row in the business transaction; no lease.

The key is inserted first. A concurrent request with the same key waits on the unique index until the first one commits
(then it finds the answer), rolls back or dies (then it goes on itself), or until lock_timeout (then 409).
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection
from django.utils import timezone

from transactions.models import IdempotencyKey, Transaction
from transactions.parsing import canonical
from transactions.problems import ProblemError
from transactions.serializers import dumps, etag, represent

# A comma is printable ASCII and so is allowed, although two header lines arrive joined by one: they are then one key.
_BARE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
LOCK_NOT_AVAILABLE = "55P03"
MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Answer:
    """What is stored and replayed: status, the headers that belong to the answer, body text, ids written."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    transactions: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that wants to run once: whose, its key, and the fingerprint that tells it from others."""

    client_id: int
    key: str
    fingerprint: bytes


def read_key(header: str | None) -> str | None:
    """The key from its header, bare or as an RFC 8941 string; both spellings are the same key. None when there is none.

    Raises ProblemError 400 `idempotency-key-invalid`.
    """
    if header is None:
        return None
    text = header.strip()
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        text = re.sub(r'\\(["\\])', r"\1", quoted.group(1))
    elif text.startswith('"') or not _BARE.fullmatch(text):
        raise ProblemError("idempotency-key-invalid")
    if not 1 <= len(text) <= MAX_KEY:
        raise ProblemError("idempotency-key-invalid")
    return text


def fingerprint(method: str, path: str, query: list[tuple[str, str]], body: Any) -> bytes:
    """SHA-256 over what makes two requests the same: method, path, query and canonical body."""
    parts = [
        method.encode(),
        path.encode("utf-8", "surrogatepass"),
        canonical(sorted(map(list, query))) if query else b"[]",
        canonical(body),
    ]
    return hashlib.sha256(b"\0".join(parts)).digest()


_INSERT = """
    INSERT INTO transactions_idempotencykey (client_id, key, fingerprint, transactions, status, headers, body)
    VALUES (%(client_id)s, %(key)s, %(fingerprint)s, %(ids)s, %(status)s, %(headers)s, %(body)s)
    ON CONFLICT (client_id, key) DO NOTHING
"""


def columns(claim: Claim, answer: Answer) -> dict[str, Any]:
    """The values of a key's row, by the names that the statements use."""
    return {
        "client_id": claim.client_id,
        "key": claim.key,
        "fingerprint": claim.fingerprint,
        "ids": dumps(answer.transactions),
        "status": answer.status,
        "headers": dumps(answer.headers),
        "body": answer.body,
    }


@contextlib.contextmanager
def waiting_for_key() -> Iterator[None]:
    """Turns a lock timeout at the key's row into ProblemError 409: the other request with this key takes too long."""
    try:
        yield
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", None) == LOCK_NOT_AVAILABLE and _at_the_key(error.__cause__):
            raise ProblemError("idempotency-key-in-use", headers={"Retry-After": "1"}) from None
        raise


def _at_the_key(cause: Any) -> bool:
    """Whether that is what was waited for, and not another transaction's external_id or a locked table.

    PostgreSQL says it in the first line of the error's context ("while inserting index tuple … in relation …"), in
    whatever language; the lines after it are the statement, which names other tables too.
    """
    return IdempotencyKey._meta.db_table in (cause.diag.context or "").partition("\n")[0]


def claim_key(claim: Claim, answer: Answer | None = None) -> bool:
    """Inserts the key, with its answer where that is known already. True: this request goes on. False: read `replay`.

    Must be called inside the business transaction. Raises ProblemError 409 when the other request takes too long.
    """
    with waiting_for_key(), connection.cursor() as cursor:
        cursor.execute(_INSERT, columns(claim, answer or Answer(0, "")))
        return bool(cursor.rowcount)


def store(claim: Claim, answer: Answer) -> None:
    """Writes the answer to a key that this transaction claimed without one."""
    IdempotencyKey.objects.filter(client_id=claim.client_id, key=claim.key).update(
        status=answer.status, headers=answer.headers, body=answer.body, transactions=answer.transactions
    )


def replay(claim: Claim) -> Answer:
    """The answer of the request that used the key first. Raises ProblemError 422 when that was another request."""
    row = IdempotencyKey.objects.get(client_id=claim.client_id, key=claim.key)
    if bytes(row.fingerprint) != claim.fingerprint:
        raise ProblemError(
            "idempotency-key-reused",
            extra={"transaction_id": row.transactions[0]} if len(row.transactions) == 1 else None,
        )
    if row.body is not None:
        return Answer(row.status, row.body, row.headers, row.transactions)
    return _from_tombstone(row)


def _from_tombstone(row: IdempotencyKey) -> Answer:
    """The snapshot is gone, the promise is not: the same transactions as they are today."""
    found = {str(txn.id): txn for txn in Transaction.objects.filter(client_id=row.client_id, id__in=row.transactions)}
    shown = [found[txn_id] for txn_id in row.transactions if txn_id in found]
    if row.status == 204:
        return Answer(204, "", {}, row.transactions)
    if "ETag" in row.headers and shown:
        return Answer(row.status, dumps(represent(shown[0])), {**row.headers, "ETag": etag(shown[0])}, row.transactions)
    return Answer(row.status, dumps({"data": [represent(txn) for txn in shown]}), row.headers, row.transactions)


def prune_once(batch: int = 1000) -> int:
    """Drops snapshots older than IDEMPOTENCY_KEEP_DAYS; the rows stay as tombstones. Returns how many."""
    before = timezone.now() - timedelta(days=settings.IDEMPOTENCY_KEEP_DAYS)
    ids = list(
        IdempotencyKey.objects.filter(created_at__lt=before, body__isnull=False).values_list("id", flat=True)[:batch]
    )
    return IdempotencyKey.objects.filter(id__in=ids).update(body=None)
