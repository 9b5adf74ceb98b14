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
        """Several statements at once as psycopg2 sends them, but one after the other: a process may end between two."""
        for words in filter(None, _flat(statement).split("; ")):
            count = words.count("%s")
            self._execute(words.removesuffix(";"), parameters[:count] if count else parameters)
            parameters = parameters[count:] if count else parameters

    def _execute(self, words: str, parameters: Any) -> None:
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
    """inbox._SETTLE. Which columns must agree for a row to change is read from the statement."""
    names, conditions = _update_parts(words)
    now, done = database.clock(), 0
    for values in zip(*parameters, strict=True):
        new = dict(zip(names, values, strict=True))
        changes = {"state": new["state"], "reason": new["reason"], "lease_token": None}
        changes["applied_at"] = now if new["state"] == "applied" else None
        if new["wait"] is not None:
            changes["due_at"] = now + timedelta(seconds=new["wait"])
        changes |= {name: new[name] for name in ("transaction_id", "type", "attempts") if new[name] is not None}
        wanted = [(column, new[name]) for column, name in conditions]
        done += database.update(
            "inbox",
            lambda there, wanted=wanted: all(there[column] == value for column, value in wanted),
            lambda _, changes=changes: changes,
            session,
        )
    return [()] * done


@cache
def _update_parts(words: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The columns of the rows it is given, and from its conditions: column of the table, column of those rows."""
    names = re.findall(r" AS new\(([^()]*)\)", words)[0].split(", ")
    conditions = words.rpartition(" WHERE ")[2].split(" AND ")
    return names, [re.fullmatch(r"row\.(\w+) = new\.(\w+)", condition).groups() for condition in conditions]


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


def _lock_txns(database: Database, session: Session, words: str, parameters: Any) -> list[Any]:
    """applying._LOCK, in the order of the ids; locked if it says so."""
    found = database.select("txn", lambda there: there["id"] in parameters[0], session)
    rows = []
    for row, values in sorted(found, key=lambda pair: pair[1]["id"]):
        there = database.lock(row, session) if words.endswith("ORDER BY id FOR UPDATE") else values
        rows.append((there["id"], there["status"], there["version"], there["updated_at"]))
    return rows


def _change(database: Database, session: Session, words: str, parameters: Any) -> list[Any]:
    """applying._CHANGE."""
    done = 0
    for txn_id, status, at, _, final, failure in zip(*parameters, strict=True):
        changes = {"status": status, "updated_at": at}
        if final:
            changes |= {"processed_at": at, "error": failure, "overdue": False}
        done += database.update(
            "txn",
            lambda there, txn_id=txn_id: there["id"] == txn_id,
            lambda _, changes=changes: changes,
            session,
        )
    return [()] * done


def _note(database: Database, session: Session, words: str, parameters: Any) -> list[Any]:
    """applying._NOTE."""
    names = ("transaction_id", "kind", "at", "version", "status", "by", "webhook_id", "type", "state", "door")
    for values in zip(*parameters, strict=True):
        database.insert("history", {**dict(zip(names, values, strict=True)), "id": database.next_id()}, session)
    return [()]


_STATEMENTS: list[tuple[str, Callable[[Database, Session, str, Any], list[Any]]]] = [
    ("SET LOCAL lock_timeout", _set_lock_timeout),
    ("INSERT INTO webhooks_inboxmessage", _record),
    ("UPDATE webhooks_inboxmessage AS row", _settle),
    ("SELECT id, status, version, updated_at FROM transactions_transaction", _lock_txns),
    ("UPDATE transactions_transaction AS txn", _change),
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
