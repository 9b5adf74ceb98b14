"""Building blocks of the schemas: patterns and limits from the code that checks them, and what a client may set."""

from collections import defaultdict
from typing import Any

from transactions import idempotency, money, serializers
from transactions.models import Transaction

Schema = dict[str, Any]

# What parsing.find_bad_text refuses, but for lone surrogates, which are no text at all in a schema's eyes.
NO_CONTROLS = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"
AMOUNT_PATTERN = f"^{money._AMOUNT.pattern}$"
CURRENCY_PATTERN = "^[A-Z]{3}$"
ACCOUNT_PATTERN = f"^{serializers.ACCOUNT_NUMBER.pattern}$"
# Bare (not in quotes), or a string of RFC 8941; the server takes the quotes off before it counts.
KEY_PATTERN = f'^(?!"){idempotency._BARE.pattern}$|^"(?:[ !#-\\[\\]-~]|\\\\["\\\\]){{1,{idempotency.MAX_KEY}}}"$'
# UUIDs as the server compares them: lower case with hyphens.
UUID_PATTERN = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
ETAG_PATTERN = '^"[0-9]+-[0-9a-f]+"$'
DIRECTIONS = ["debit", "credit"]


def ref(name: str) -> Schema:
    """A reference to a component schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema, **more: Any) -> Schema:
    """The schema, or null."""
    return {**schema, "type": [schema["type"], "null"], **more}


def length_of(model: type, name: str) -> int:
    """How many characters the column of a model holds."""
    return int(model._meta.get_field(name).max_length)  # type: ignore[attr-defined]


def moment(description: str) -> Schema:
    """A time as the server writes it: UTC with Z."""
    return {"type": "string", "format": "date-time", "pattern": "Z$", "description": description}


def amounts_by_currency() -> list[Schema]:
    """A currency's digits bound its amounts: one condition for each number of digits that ISO 4217 knows."""
    codes: dict[int, list[str]] = defaultdict(list)
    for code, digits in money.CURRENCIES.items():
        codes[digits].append(code)
    rules = []
    for digits, of_digits in sorted(codes.items()):
        fraction = f"(\\.[0-9]{{1,{digits}}})?" if digits else ""
        rules.append(
            {
                "if": {"properties": {"currency": {"enum": sorted(of_digits)}}, "required": ["currency"]},
                "then": {"properties": {"amount": {"pattern": f"^(0|[1-9][0-9]{{0,14}}){fraction}$"}}},
            }
        )
    return rules


def text(limit: int, least: int = 0) -> Schema:
    """A string without control characters."""
    return {"type": "string", "minLength": least, "maxLength": limit, "pattern": NO_CONTROLS}


def fields() -> dict[str, Schema]:
    """What a client may set, by name."""
    return {
        "account_number": {
            "type": "string",
            "minLength": 1,
            "maxLength": length_of(Transaction, "account_number"),
            "pattern": ACCOUNT_PATTERN,
            "description": "Letters, digits, space and . / : - with no space at the ends: an IBAN, or what a bank writes.",
            "examples": ["DE89370400440532013000", "50880050/0194804000888"],
        },
        "amount": {
            "type": "string",
            "maxLength": money.MAX_AMOUNT_CHARACTERS,
            "pattern": AMOUNT_PATTERN,
            # No amount is zero, however it is spelled.
            "not": {"pattern": "^0(\\.0*)?$"},
            "description": "A JSON string, never a number: plain digits, greater than zero, with at most as many digits "
            "after the point as the currency has (ISO 4217: JPY 0, EUR 2, KWD 3). Answers carry exactly that many.",
            "examples": ["125.50"],
        },
        "currency": {
            "type": "string",
            "enum": sorted(money.CURRENCIES),
            "description": "An active ISO 4217 code. A change that leaves it out keeps one that is no longer active.",
            "examples": ["EUR"],
        },
        "direction": {"type": "string", "enum": DIRECTIONS, "examples": ["debit"]},
        "transaction_date": {
            "type": ["string", "null"],
            "format": "date-time",
            "maxLength": 64,
            "description": "RFC 3339 with an offset, years 1 to 9999 in UTC, no leap second; digits beyond microseconds "
            "are cut. Default: the time of creation; a PUT that leaves it out keeps it.",
            "examples": ["2026-11-22T10:15:00Z"],
        },
        "external_id": {
            **nullable(text(length_of(Transaction, "external_id"), 1)),
            "description": "Your own id: unique per client for ever; set once, then never changed.",
            "examples": ["inv-881"],
        },
        "description": {**nullable(text(length_of(Transaction, "description"))), "examples": ["Invoice 881"]},
        "metadata": {
            "type": ["object", "null"],
            "maxProperties": serializers.MAX_METADATA_KEYS,
            "propertyNames": {"pattern": NO_CONTROLS},
            "additionalProperties": ref("JsonValue"),
            "description": f"Anything of yours: at most {serializers.MAX_METADATA_KEYS} keys and "
            f"{serializers.MAX_METADATA_BYTES} bytes as compact JSON in UTF-8. The whole body nests 32 levels at most.",
            "examples": [{"invoice": 881}],
        },
    }
