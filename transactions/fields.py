"""An exact decimal column on every engine: NUMERIC on PostgreSQL, text on SQLite, whose numbers are floats."""

from decimal import Decimal
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class ExactDecimalField(models.Field[Decimal, Decimal]):
    """19 digits, 4 of them after the point: 15 before it and the four of the finest ISO 4217 currencies."""

    max_digits = 19
    decimal_places = 4

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """SQLite gives a DECIMAL column numeric affinity, which turns 17 digits into a float."""
        return "text" if connection.vendor == "sqlite" else f"numeric({self.max_digits}, {self.decimal_places})"

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Decimal | None:
        """The driver's Decimal, or the text of it."""
        return None if value is None else Decimal(value)

    def to_python(self, value: Any) -> Decimal | None:
        """Accepts what Decimal accepts, but never a float."""
        if isinstance(value, float):
            raise TypeError("An amount is never a float: pass a Decimal or a string.")
        return None if value is None else Decimal(value)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        """Fixed-point text on SQLite, so that no exponent is ever stored."""
        decimal = self.to_python(value)
        return format(decimal, "f") if decimal is not None and connection.vendor == "sqlite" else decimal
