"""Example values of the API description; a test validates each against its schema."""

from typing import Any

TXN_ID = "01997c3e-5a80-7c4e-9b1f-6a2d3c4e5f60"
EVENT_ID = "01997c3e-5a81-7a10-8f4e-0b1c2d3e4f50"
ETAG = '"1-64a1f0c3b2d10"'
MOMENT = "2026-11-22T10:15:00Z"

NEW: dict[str, Any] = {
    "account_number": "DE89370400440532013000",
    "amount": "125.50",
    "currency": "EUR",
    "direction": "debit",
    "external_id": "inv-881",
    "description": "Invoice 881",
    "metadata": {"invoice": 881},
}
PENDING: dict[str, Any] = {
    "id": TXN_ID,
    "external_id": "inv-881",
    "account_number": "DE89370400440532013000",
    "amount": "125.50",
    "currency": "EUR",
    "direction": "debit",
    "transaction_date": MOMENT,
    "description": "Invoice 881",
    "metadata": {"invoice": 881},
    "status": "pending",
    "version": 1,
    "processed_data": None,
    "error": None,
    "overdue": False,
    "created_at": "2026-11-22T10:15:00.123000Z",
    "updated_at": "2026-11-22T10:15:00.123000Z",
    "processed_at": None,
}
SUCCEEDED: dict[str, Any] = PENDING | {
    "status": "succeeded",
    "processed_data": {"reference": "BK-2026-0042"},
    "updated_at": "2026-11-22T10:15:01.456000Z",
    "processed_at": "2026-11-22T10:15:01.456000Z",
}
FAILED: dict[str, Any] = PENDING | {
    "status": "failed",
    "error": {"code": "account_closed", "message": "The account is closed."},
    "updated_at": "2026-11-22T10:15:01.456000Z",
    "processed_at": "2026-11-22T10:15:01.456000Z",
}
