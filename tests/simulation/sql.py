"""The raw statements of the inbox and of applying, as the simulated database runs them.

What can be read from the statement is: the columns of an INSERT and an UPDATE, the conditions, FOR UPDATE, the conflict
clause. What a statement's shape does not tell (the claim's window functions) is written out again in Python;
test_database.py holds both against PostgreSQL.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any

from django.db import transaction as django_transaction

from tests.simulation.database import Database, Session, Values

WAITING = frozenset({"received", "failed", "unmatched"})
_NOW = "statement_timestamp()"
_INBOX_DEFAULTS: Values = {
    "reason": "", "transaction_id": None, "type": "", "attempts": 0, "lease_token": None, "applied_at": None,
}  # fmt: skip


class Cursor:
    """A psycopg2 cursor."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rowcount = -1
        self._rows: list[tuple[Any, ...]] = []

    def __enter__(self) -> "Cursor":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fetchone(self) -> Any:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[Any]:
        return self._rows

    def execute(self, statement: str, parameters: Any = None) -> None:
        words = _flat(statement)
        beginning, run = next((known for known in _STATEMENTS if words.startswith(known[0])), (words, None))
        if run is None:
            raise NotImplementedError(f"the simulated database knows no such statement; teach it ({__file__}): {words}")
        self._rows = self.database.run(beginning, lambda session: run(self.database, session, words, parameters))
        self.rowcount = len(self._rows)


@cache
def _flat(statement: str) -> str:
    return " ".join(statement.split())


def _set_lock_timeout(database: Database, session: Session, words: str, parameters: Any) -> list[Any]:
    assert session.transaction is not None, "SET LOCAL outside of a transaction does nothing"
    session.transaction.patience = int(re.findall(r"'(\d+)ms'", words)[0]) / 1000
    return []


def _record(database: Database, session: Session, words: str, parameters: Any) -> list[Any]:
    """INSERT … ON CONFLICT (webhook_id) DO UPDATE … WHERE … RETURNING state, reason, deliveries."""
    columns, items = _insert_parts(words)
    given = iter(parameters)
    new = {**_INBOX_DEFAULTS, "id": database.next_id(), "due_at": database.clock(), "received_at": database.clock()}
    new |= {column: next(given) if item == "%s" else int(item) for column, item in zip(columns, items, strict=True)}
    for row in list(database.tables["inbox"]):
        there = row.draft or row.committed
        if there is None or there["webhook_id"] != new["webhook_id"]:
            continue
        there = database.lock(row, session)
        if not there:
            continue
        if "sha256 = EXCLUDED.sha256" in words and there["sha256"] != new["sha256"]:
            return []
        changed = {**there, "deliveries": there["deliveries"] + 1}
        if "state = 'received'" in words:
            changed["state"] = "received"
        database.write(row, changed, session)
        return [(changed["state"], changed["reason"], changed["deliveries"])]
    database.insert("inbox", new, session, "webhook_id")
    return [(new["state"], new["reason"], new["deliveries"])]


@cache
def _insert_parts(words: str) -> tuple[list[str], list[str]]:
    columns, items = re.findall(r"\(([^()]*)\) VALUES \(([^()]*)\)", words)[0]
    return columns.split(", "), items.split(", ")


def _settle(database: Database, session: Session, words: str, parameters: Any) -> list[Any]:
    """UPDATE webhooks_inboxmessage SET … WHERE column = %s AND …: read from the statement itself."""
    assignments, conditions = _update_parts(words)
    given, now = iter(parameters), database.clock()
    changes = {}
    for column, expression in assignments:
        if expression == "NULL":
            changes[column] = None
        elif expression == "%s":
            changes[column] = next(given)
        elif expression == _NOW:
            changes[column] = now
        else:
            assert expression == f"{_NOW} + make_interval(secs => %s)", expression
            changes[column] = now + timedelta(seconds=next(given))
    wanted = [(column, next(given)) for column in conditions]
    done = database.update(
        "inbox", lambda values: all(values[column] == value for column, value in wanted), lambda _: changes, session
    )
    return [()] * done


@cache
def _update_parts(words: str) -> tuple[list[tuple[str, str]], list[str]]:
    head, _, tail = words.partition(" WHERE ")
    assignments = [tuple(part.split(" = ", 1)) for part in head.partition(" SET ")[2].split(", ")]
    conditions = tail.split(" AND ")
    assert all(condition.endswith(" = %s") for condition in conditions), words
    return assignments, [condition.removesuffix(" = %s") for condition in conditions]  # type: ignore[return-value]


def claim_results(database: Database, values: dict[str, Any]) -> list[Any]:
    """inbox._CLAIM: due rows, fresh ones and abandoned ones never mixed, fewer of these the more often they killed."""

    def work(session: Session) -> list[Any]:
        now, limit = database.clock(), values["limit"]
        due = database.select("inbox", lambda row: row["state"] in WAITING and row["due_at"] <= now, session)
        due.sort(key=lambda pair: (pair[1]["due_at"], pair[1]["id"]))
        due = [pair for pair in due if database.free(pair[0], session)][:limit]
        for row, _ in due:
            database.lock(row, session)
        taken = []
        abandoned_first = bool(due) and due[0][1]["lease_token"] is not None
        for place, (row, there) in enumerate(due, start=1):
            abandoned, attempts = there["lease_token"] is not None, there["attempts"]
            if abandoned is not abandoned_first:
                continue
            if abandoned and place > 1 and not (attempts < 8 and place <= limit >> (2 * attempts)):
                continue
            until = now + timedelta(seconds=values["lease"])
            made = {**there, "due_at": until, "lease_token": values["token"], "attempts": attempts + 1}
            database.write(row, made, session)
            taken.append(SimpleNamespace(**made))
        return taken

    found: list[Any] = database.run("claim results", work)
    return found


def _lock_txn(database: Database, session: Session, words: str, parameters: Any) -> list[Any]:
    """SELECT status, version, updated_at FROM transactions_transaction WHERE id = %s, locked if it says so."""
    for row, values in database.select("txn", lambda there: there["id"] == parameters[0], session):
        there = database.lock(row, session) if words.endswith("FOR UPDATE") else values
        return [(there["status"], there["version"], there["updated_at"])]
    return []


def _apply(database: Database, session: Session, words: str, given: Any) -> list[Any]:
    """applying._APPLY: the transaction, the history of its change and of the result."""
    final = given["final"]

    def change(there: Values) -> Values:
        changes = {"status": given["status"], "updated_at": given["now"]}
        if final:
            changes |= {"processed_at": given["now"], "error": given["error"], "overdue": False}
        return changes

    done = database.update("txn", lambda there: there["id"] == given["id"], change, session)
    if done:
        entry = {"transaction_id": given["id"], "kind": "change", "state": "", "webhook_id": "", "type": ""}
        database.insert("history", {**entry, "id": database.next_id(), "status": given["status"]}, session)
        _note(database, session, words, given)
    return [()] * done


def _note(database: Database, session: Session, words: str, given: Any) -> list[Any]:
    entry = {"transaction_id": given["id"], "kind": "result", "state": given["state"], "status": ""}
    entry |= {"id": database.next_id(), "webhook_id": given["webhook_id"], "type": given["type"]}
    database.insert("history", entry, session)
    return [()]


_STATEMENTS: list[tuple[str, Callable[[Database, Session, str, Any], list[Any]]]] = [
    ("SET LOCAL lock_timeout", _set_lock_timeout),
    ("INSERT INTO webhooks_inboxmessage", _record),
    ("UPDATE webhooks_inboxmessage SET", _settle),
    ("SELECT status, version, updated_at FROM transactions_transaction", _lock_txn),
    ("WITH txn AS ( UPDATE transactions_transaction", _apply),
    ("INSERT INTO transactions_historyentry", _note),
]


class Connection:
    """django.db.connection of the current process. `vendor` decides which branch the code takes."""

    def __init__(self, database: Callable[[], Database], vendor: str) -> None:
        self.database, self.vendor = database, vendor
        self.health_check_done = False

    @property
    def in_atomic_block(self) -> bool:
        return self.database().session().depth > 0

    def cursor(self) -> Cursor:
        return Cursor(self.database())

    def close(self) -> None:
        self.database().roll_back(self.database().session())

    def close_if_unusable_or_obsolete(self) -> None:
        """A session of the simulated database is usable again by itself."""


class Transactions:
    """django.db.transaction of the current process."""

    TransactionManagementError = django_transaction.TransactionManagementError

    def __init__(self, database: Callable[[], Database]) -> None:
        self.database = database

    @contextlib.contextmanager
    def atomic(self, using: str | None = None, savepoint: bool = True, durable: bool = False) -> Iterator[None]:
        database = self.database()
        session = database.session()
        outermost = session.depth == 0
        if outermost:
            database.scheduler.step("begin")
            database.begin(session)
        transaction = session.transaction
        mark = len(transaction.undo) if transaction else 0
        session.depth += 1
        try:
            yield
        except BaseException:
            session.depth -= 1
            if outermost:
                database.roll_back(session)
            elif savepoint and session.transaction is transaction:
                database.roll_back(session, mark)
            raise
        session.depth -= 1
        if outermost:
            try:
                database.scheduler.step("commit")
                database.commit(session)
            except BaseException:
                database.roll_back(session)
                raise

    def on_commit(self, work: Callable[[], None], using: str | None = None, robust: bool = False) -> None:
        session = self.database().session()
        if session.transaction is None:
            work()
        else:
            session.transaction.after_commit.append(work)
