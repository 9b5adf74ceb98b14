"""As much of Django's ORM as the decision code uses, over the simulated database: Q, F, Now, arithmetic, lookups."""

import operator
from collections.abc import Callable, Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from django.db.models import F, Q, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Greatest, Now

from tests.simulation.database import Database, Predicate, Row, Session, Values

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "exact": operator.eq,
    "lt": lambda left, right: left is not None and left < right,
    "lte": lambda left, right: left is not None and left <= right,
    "gt": lambda left, right: left is not None and left > right,
    "gte": lambda left, right: left is not None and left >= right,
    "in": lambda left, right: left in right,
    "isnull": lambda left, right: (left is None) is right,
}
_ARITHMETIC = {"+": operator.add, "-": operator.sub}


def resolve(expression: Any, values: Values, now: datetime) -> Any:
    """The value of an expression for one row."""
    if isinstance(expression, F):
        return values[expression.name]
    if isinstance(expression, Now):
        return now
    if isinstance(expression, Greatest):
        return max(resolve(source, values, now) for source in expression.get_source_expressions())
    if isinstance(expression, CombinedExpression):
        left, right = resolve(expression.lhs, values, now), resolve(expression.rhs, values, now)
        return _ARITHMETIC[expression.connector](left, right)
    if isinstance(expression, Value):
        return expression.value
    if hasattr(expression, "resolve_expression"):
        raise NotImplementedError(f"the simulated database knows no {type(expression).__name__}; teach it: {__file__}")
    return expression


def predicate_of(condition: Q, now: datetime) -> Predicate:
    """What a Q asks of a row."""
    parts = []
    for child in condition.children:
        if isinstance(child, Q):
            parts.append(predicate_of(child, now))
        elif isinstance(child, tuple):
            name, _, lookup = child[0].partition("__")
            parts.append(_comparison(name, _COMPARE[lookup or "exact"], child[1], now))
        else:
            raise NotImplementedError(f"the simulated database knows no {child!r}; teach it: {__file__}")
    if len(parts) == 1:
        found = parts[0]
    elif condition.connector == Q.OR:
        found = lambda values: any(part(values) for part in parts)  # noqa: E731
    else:
        found = lambda values: all(part(values) for part in parts)  # noqa: E731
    return (lambda values: not found(values)) if condition.negated else found


def _comparison(name: str, compare: Callable[[Any, Any], bool], wanted: Any, now: datetime) -> Predicate:
    if hasattr(wanted, "resolve_expression"):
        return lambda values: compare(values[name], resolve(wanted, values, now))
    if isinstance(wanted, list | tuple | set | frozenset):
        wanted = set(wanted)
    return lambda values: compare(values[name], wanted)


class Query:
    """A QuerySet: every verb gives a new one, nothing is read before it is asked for."""

    def __init__(self, model: "Model", **changes: Any) -> None:
        self.model = model
        self.where: tuple[Q, ...] = ()
        self.order: tuple[str, ...] = ()
        self.locked: str = ""
        self.fields: tuple[str, ...] | None = None
        self.flat = False
        self.__dict__.update(changes)

    def _with(self, **changes: Any) -> "Query":
        return Query(**{**self.__dict__, **changes})

    def filter(self, *conditions: Q, **lookups: Any) -> "Query":
        return self._with(where=(*self.where, Q(*conditions, **lookups)))

    def exclude(self, *conditions: Q, **lookups: Any) -> "Query":
        return self._with(where=(*self.where, ~Q(*conditions, **lookups)))

    def all(self) -> "Query":
        return self

    def only(self, *fields: str) -> "Query":
        return self

    defer = only

    def order_by(self, *fields: str) -> "Query":
        return self._with(order=fields)

    def select_for_update(self, skip_locked: bool = False) -> "Query":
        return self._with(locked="skip" if skip_locked else "wait")

    def values_list(self, *fields: str, flat: bool = False) -> "Query":
        return self._with(fields=fields, flat=flat)

    # --- what goes to the database

    def _predicate(self) -> Predicate:
        now = self.model.database().clock()
        parts = [predicate_of(condition, now) for condition in self.where if condition.children]
        if not parts:
            return lambda values: True
        return parts[0] if len(parts) == 1 else lambda values: all(part(values) for part in parts)

    def _read(self, limit: int | None = None) -> list[Any]:
        database, table = self.model.database(), self.model.table

        def work(session: Session) -> list[Values]:
            predicate = self._predicate()
            found = database.select(table, predicate, session)
            for field in reversed(self.order):
                name = field.lstrip("-")
                found.sort(key=lambda pair: pair[1][name], reverse=field.startswith("-"))
            return self._lock(found, predicate, session, limit)

        return [self._shape(values) for values in database.run(f"select {table}", work)]

    def _lock(
        self, found: list[tuple[Row, Values]], predicate: Predicate, session: Session, limit: int | None
    ) -> list[Values]:
        database = self.model.database()
        if not self.locked:
            return [values for _, values in found[:limit]]
        taken: list[Values] = []
        for row, values in found:
            if limit is not None and len(taken) == limit:
                break
            if database.free(row, session):
                database.lock(row, session)
                taken.append(values)
            elif self.locked == "wait":
                now_there = database.lock(row, session)
                if now_there and predicate(now_there):
                    taken.append(now_there)
        return taken

    def _shape(self, values: Values) -> Any:
        if self.fields is None:
            return SimpleNamespace(**values)
        shaped = tuple(values[field] for field in self.fields)
        return shaped[0] if self.flat else shaped

    def __iter__(self) -> Iterator[Any]:
        return iter(self._read())

    def __getitem__(self, wanted: slice) -> list[Any]:
        assert isinstance(wanted, slice) and not wanted.start and wanted.step is None
        return self._read(wanted.stop)

    def first(self) -> Any:
        return next(iter(self._read(1)), None)

    def exists(self) -> bool:
        return bool(self._read(1))

    def count(self) -> int:
        return len(self._read())

    def get(self, **lookups: Any) -> Any:
        (found,) = self.filter(**lookups)._read(2)
        return found

    def update(self, **changes: Any) -> int:
        database, table = self.model.database(), self.model.table

        def work(session: Session) -> int:
            now = database.clock()

            def change(values: Values) -> Values:
                return {name: resolve(wanted, values, now) for name, wanted in changes.items()}

            return database.update(table, self._predicate(), change, session)

        return int(database.run(f"update {table}", work))

    def create(self, **values: Any) -> Any:
        database, table = self.model.database(), self.model.table
        made = {**self.model.defaults, **values}
        if "id" not in made:
            made["id"] = database.next_id()
        if self.model.table == "outbox":
            made = {"created_at": database.clock(), "due_at": database.clock(), **made}
        database.run(f"insert {table}", lambda session: database.insert(table, made, session, self.model.key))
        return SimpleNamespace(**made)

    def bulk_create(self, rows: list[Any]) -> None:
        for row in rows:
            self.create(**row.__dict__)

    def get_or_create(self, **lookups: Any) -> tuple[Any, bool]:
        found = self.filter(**lookups).first()
        if found is not None:
            return found, False
        return self.create(**lookups), True


class Model:
    """Stands where a model class stood: `objects` and the names that code takes from the class."""

    def __init__(
        self,
        database: Callable[[], Database],
        table: str,
        key: str = "id",
        defaults: Values | None = None,
        **names: Any,
    ) -> None:
        self.database, self.table, self.key, self.defaults = database, table, key, defaults or {}
        self.__dict__.update(names)

    @property
    def objects(self) -> Query:
        return Query(self)

    def __call__(self, **values: Any) -> Any:
        return SimpleNamespace(**values)
