"""`id = ANY(array)`: many ids as one parameter. As `IN (…)` 500 of them cost more than all else in a claim."""

from typing import Any

from django.db.models import Lookup


class AnyOf(Lookup[bool]):
    """`AnyOf(F("id"), ids)` for a filter; PostgreSQL only."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """The array travels as text, which is cheaper than a list of UUIDs."""
        column, parameters = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s::uuid[])", (*parameters, "{" + ",".join([str(value) for value in self.rhs]) + "}")
