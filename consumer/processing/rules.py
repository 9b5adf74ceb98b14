"""Decides one bank transaction: outcome, reasons, and the checks made. Pure; amounts are Decimal, never float."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from processing.events import Txn

# Two letters, two check digits, then at least 11 characters: the shortest IBAN (Norway's) has 15, the longest 34.
_IBAN_SHAPE = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
# A day covers every time zone; what is dated later than that is a forward order or a mistake, and is worth a flag.
FUTURE_AFTER = timedelta(days=1)
# How long the same payment counts as a possible duplicate.
TWIN_WINDOW = timedelta(hours=24)

SUCCEEDED, FAILED = "succeeded", "failed"


@dataclass(frozen=True)
class Limits:
    """Amounts by currency; `*` is every other currency. Above `review` is a flag, above `hard` is a failure."""

    review: Mapping[str, str] = field(default_factory=dict)
    hard: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Verdict:
    """What was decided. `reasons` are codes; `checks` say what was looked at, so that a person can follow it."""

    outcome: str = SUCCEEDED
    reasons: list[str] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=dict)
    error: dict[str, str] | None = None

    def fail(self, code: str, message: str) -> None:
        """The first failure gives the error; later ones are reasons too."""
        self.outcome = FAILED
        self.reasons.append(code)
        self.error = self.error or {"code": code, "message": message}


def decide(txn: Txn, now: datetime, limits: Limits, twin_id: str | None) -> Verdict:
    """Every rule runs, so that processed_data names all that was found and not only the first."""
    verdict = Verdict()
    _check_account(txn, verdict)
    _check_limits(txn, limits, verdict)
    _check_date(txn, now, verdict)
    if twin_id is None:
        verdict.checks["duplicate"] = "none seen within 24 hours"
    else:
        verdict.checks["duplicate"] = f"same as transaction {twin_id}"
        verdict.reasons.append("possible_duplicate")
    return verdict


def looks_like_iban(account_number: str) -> bool:
    return _IBAN_SHAPE.fullmatch(_compact(account_number)) is not None


def iban_checksum_holds(account_number: str) -> bool:
    """ISO 13616: the first four characters to the end, letters to 10..35, the number modulo 97 is 1."""
    iban = _compact(account_number)
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def fingerprint(txn: Txn) -> str:
    """Equal for transactions that a person would take for the same payment: 1.5 EUR and 1.50 EUR are."""
    value = txn.value.normalize()
    parts = [
        _compact(txn.account_number),
        f"{value:f}",
        txn.currency,
        txn.direction,
        txn.transaction_date[:10],
        txn.description,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _check_account(txn: Txn, verdict: Verdict) -> None:
    if not looks_like_iban(txn.account_number):
        verdict.checks["account"] = "not an IBAN: checksum not applicable"
    elif iban_checksum_holds(txn.account_number):
        verdict.checks["account"] = "IBAN checksum holds"
    else:
        verdict.checks["account"] = "IBAN checksum fails"
        verdict.fail("invalid_account", "The account number looks like an IBAN, but its checksum (mod 97) is wrong.")


def _check_limits(txn: Txn, limits: Limits, verdict: Verdict) -> None:
    hard = limits.hard.get(txn.currency, limits.hard.get("*"))
    review = limits.review.get(txn.currency, limits.review.get("*"))
    if hard is not None and txn.value > Decimal(hard):
        verdict.checks["limit"] = f"over the limit of {hard} {txn.currency}"
        verdict.fail("limit_exceeded", f"The amount is over the limit of {hard} {txn.currency}.")
    elif review is not None and txn.value > Decimal(review):
        verdict.checks["limit"] = f"over {review} {txn.currency}: flagged for review"
        verdict.reasons.append("review_amount")
    else:
        verdict.checks["limit"] = "within limits"


def _check_date(txn: Txn, now: datetime, verdict: Verdict) -> None:
    try:
        date = datetime.fromisoformat(txn.transaction_date)
        future = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now > FUTURE_AFTER
    except (ValueError, OverflowError):
        verdict.checks["date"] = "not readable: not checked"
        return
    verdict.checks["date"] = "in the future" if future else "not in the future"
    if future:
        verdict.reasons.append("future_dated")


def _compact(account_number: str) -> str:
    return account_number.replace(" ", "").upper()
