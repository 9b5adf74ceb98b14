"""Request bodies that look like a bank's day: a seeded generator, plus rows of real statements.

`statement_rows.jsonl` holds rows of real MT940 statements from the test data of wolph/mt940 (BSD licence).
"""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Body = dict[str, Any]

STATEMENT_ROWS = Path(__file__).with_name("statement_rows.jsonl")

# ISO 4217: digits after the point. Three kinds on purpose (0, 2, 3): a float or a fixed scale anywhere would show.
CURRENCY_DIGITS = {"EUR": 2, "CHF": 2, "PLN": 2, "GBP": 2, "USD": 2, "JPY": 0, "KWD": 3}
CURRENCY_WEIGHTS = (40, 15, 20, 5, 8, 7, 5)

# Country -> length of the digits that follow the two check digits (countries whose BBAN is digits only).
IBAN_DIGITS = {"DE": 18, "PL": 24, "CH": 17, "AT": 16, "ES": 20}

# As real statements write them: bank code / account, BIC / account, a bare number.
OTHER_ACCOUNTS = ("50880050/0194804000888", "BPHKPLPK/320000546101", "123456789", "0123456789", "DABADKKK/111111-11")

DESCRIPTIONS = (
    "Rechnung {n} vom {day}, Fa. Müller & Söhne GmbH",
    "Miete für Büro Königstraße 12, Monat {month}",
    "Gehalt {month}, Personal-Nr. {n}",
    "Überweisung Stromabschlag, Vertragskonto {n}",
    "Lastschrift Krankenversicherung Beitrag {month}",
    "Zapłata za fakturę nr {n}/2026",
    "Przelew własny, tytuł: oszczędności na święta",
    "Opłata za prąd, umowa nr {n}, Łódź",
    "Wynagrodzenie za {month}, Józef Żółkiewski",
    "Składka ubezpieczeniowa, polisa {n}",
    "Card payment {n}, Zürich Hauptbahnhof",
    "Invoice {n}, delivery note of {day}",
)

INVALID_IBAN_EVERY = 12  # about one in so many has a wrong check digit, so that a demo also shows failed ones
LARGE_AMOUNT_EVERY = 40  # about one in so many uses all 15 digits before the point
STATEMENT_ROW_EVERY = 5  # one in so many is a row of a real statement, each at most once per run


def bank_transactions(seed: int, now: datetime | None = None) -> Iterator[Body]:
    """Yield request bodies for ever; the same seed and `now` give the same bodies."""
    rng = random.Random(seed)
    today = now or datetime.now(UTC)
    rows = iter(statement_rows())
    number = 0
    while True:
        number += 1
        row = next(rows, None) if number % STATEMENT_ROW_EVERY == 0 else None
        yield row if row is not None else _made_up(rng, f"gen-{seed}-{number:06d}", today)


def statement_rows() -> list[Body]:
    return [json.loads(line) for line in STATEMENT_ROWS.read_text(encoding="utf-8").splitlines() if line.strip()]


def make_iban(country: str, bban: str) -> str:
    """The IBAN with its two check digits (ISO 13616: the rearranged number leaves 1 when divided by 97)."""
    return f"{country}{98 - _mod_97(country, '00', bban):02d}{bban}"


def iban_is_valid(iban: str) -> bool:
    return _mod_97(iban[:2], iban[2:4], iban[4:]) == 1


def _mod_97(country: str, check: str, bban: str) -> int:
    return int("".join(str(int(character, 36)) for character in bban + country + check)) % 97


def _made_up(rng: random.Random, external_id: str, today: datetime) -> Body:
    currency = rng.choices(list(CURRENCY_DIGITS), weights=CURRENCY_WEIGHTS)[0]
    moment = today - timedelta(seconds=rng.randrange(30 * 86_400))
    description = rng.choice(DESCRIPTIONS).format(
        n=rng.randrange(10_000, 999_999), day=moment.strftime("%d.%m.%Y"), month=moment.strftime("%m/%Y")
    )
    return {
        "external_id": external_id,
        "account_number": _account(rng),
        "amount": _amount(rng, CURRENCY_DIGITS[currency]),
        "currency": currency,
        "direction": rng.choice(("debit", "debit", "credit")),
        "transaction_date": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "description": description,
        "metadata": {"channel": rng.choice(("branch", "online", "standing-order")), "made_by": "demo"},
    }


def _account(rng: random.Random) -> str:
    if rng.randrange(6) == 0:
        return rng.choice(OTHER_ACCOUNTS)
    country = rng.choice(list(IBAN_DIGITS))
    digits = IBAN_DIGITS[country]
    iban = make_iban(country, f"{rng.randrange(10**digits):0{digits}d}")
    if rng.randrange(INVALID_IBAN_EVERY) == 0:
        return iban[:-1] + str((int(iban[-1]) + 1) % 10)
    return iban


def _amount(rng: random.Random, digits: int) -> str:
    """Exact from the start: whole minor units, then the point is put in. No float anywhere."""
    if rng.randrange(LARGE_AMOUNT_EVERY) == 0:
        units = rng.randrange(10 ** (14 + digits), 10 ** (15 + digits))
    else:
        units = rng.randrange(1, 10 ** rng.randint(2 + digits, 5 + digits))
    whole, fraction = divmod(units, 10**digits)
    return f"{whole}.{fraction:0{digits}d}" if digits else str(whole)
