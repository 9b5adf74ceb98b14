"""A database as its users see it: READ COMMITTED, row locks that are waited for or skipped, statements that can fail.

A row has its committed values and, while a transaction holds it, that one's draft. An UPDATE that had to wait looks at
the row again, as PostgreSQL does. What a killed process left open is rolled back; what was committed stays.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError, OperationalError

from tests.simulation.scheduler import Scheduler

EPOCH = datetime(2026, 11, 22, 12, tzinfo=UTC)
LOCK_TIMEOUT_SECONDS = 3.0

Values = dict[str, Any]
Predicate = Callable[[Values], bool]


class Row:
    """`draft` is None unless the transaction `owner` has changed it; a lock alone has an owner and no draft."""

    __slots__ = ("committed", "draft", "owner")

    def __init__(self) -> None:
        self.committed: Values | None = None
        self.draft: Values | None = None
        self.owner: Transaction | None = None


class Transaction:
    """What one transaction has locked and changed, and how to take back what came after a savepoint."""

    def __init__(self) -> None:
        self.patience = LOCK_TIMEOUT_SECONDS
        self.rows: list[Row] = []
        self.undo: list[tuple[Row, Values | None]] = []
        self.after_commit: list[Callable[[], None]] = []


class Session:
    """A process's connection."""

    def __init__(self, database: "Database") -> None:
        self.database = database
        self.transaction: Transaction | None = None
        self.depth = 0

    def vanish(self) -> None:
        """The process is gone; the server rolls back."""
        if self.transaction is not None:
            self.database.roll_back(self)


def error(words: str, code: str | None = None) -> OperationalError:
    """As Django raises it: the driver's SQLSTATE is on the cause."""
    made = OperationalError(words)
    made.__cause__ = DriverError(code)
    return made


class DriverError(Exception):
    """The driver's error."""

    def __init__(self, pgcode: str | None) -> None:
        super().__init__(pgcode)
        self.pgcode = pgcode


class Database:
    """Tables of rows in the order of their insert."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.tables: dict[str, list[Row]] = {
            name: [] for name in ("outbox", "channel", "inbox", "reused", "txn", "history")
        }
        self.offset = 0.0
        self.away = False
        # Chance that a statement ends the connection, and that a COMMIT's answer is lost.
        self.cut, self.commit_unknown = 0.0, 0.0
        self.faults = 0
        self.on_commit: Callable[[str, Values | None, Values], None] = lambda table, before, after: None
        self._table_of: dict[int, str] = {}
        self._next_id = 0

    # --- time

    def clock(self) -> datetime:
        """The server's clock."""
        return EPOCH + timedelta(seconds=self.scheduler.now + self.offset)

    # --- sessions and transactions

    def session(self) -> Session:
        """The current process's."""
        process = self.scheduler.current
        assert process is not None
        found: Session | None = process.belongings.get("session")
        if found is None:
            found = process.belongings["session"] = Session(self)
        return found

    def statement(self, what: str) -> Session:
        """A round trip: a step, after which the server may be gone."""
        self.scheduler.step(what)
        session = self.session()
        if self.away or (self.cut and self.scheduler.random.random() < self.cut):
            self.faults += 1
            self.roll_back(session)
            raise error("server closed the connection unexpectedly")
        if session.depth and session.transaction is None:
            raise error("the connection is closed: its transaction was rolled back")
        return session

    def begin(self, session: Session) -> Transaction:
        """A new transaction; statements outside of one bring their own."""
        session.transaction = Transaction()
        return session.transaction

    def commit(self, session: Session) -> None:
        """Makes it durable; the answer may be lost on its way."""
        transaction = session.transaction
        if transaction is None:
            raise error("the connection is closed: its transaction was rolled back")
        if self.commit_unknown and self.scheduler.random.random() < self.commit_unknown:
            self.faults += 1
            if self.scheduler.random.random() < 0.5:
                self._apply(session, transaction)
            self.roll_back(session)
            raise error("server closed the connection during COMMIT")
        self._apply(session, transaction)
        for callback in transaction.after_commit:
            callback()

    def _apply(self, session: Session, transaction: Transaction) -> None:
        session.transaction = None
        for row in transaction.rows:
            before, after = row.committed, row.draft
            row.owner = row.draft = None
            if after is not None:
                row.committed = after
                self.on_commit(self._table_of[id(row)], before, after)

    def roll_back(self, session: Session, mark: int | None = None) -> None:
        """All of it, or what came after a savepoint (whose locks stay, as the server's do until the end)."""
        transaction = session.transaction
        if transaction is None:
            return
        if mark is not None:
            while len(transaction.undo) > mark:
                row, draft = transaction.undo.pop()
                row.draft = draft
            return
        session.transaction = None
        for row in transaction.rows:
            row.owner = row.draft = None
            if row.committed is None:
                self.tables[self._table_of[id(row)]].remove(row)

    # --- rows

    def seen(self, table: str, session: Session) -> list[tuple[Row, Values]]:
        """The rows as a statement of this session sees them."""
        mine = session.transaction
        found = []
        for row in self.tables[table]:
            values = row.draft if mine is not None and row.owner is mine and row.draft is not None else row.committed
            if values is not None:
                found.append((row, values))
        return found

    def select(self, table: str, predicate: Predicate, session: Session) -> list[tuple[Row, Values]]:
        """What matches now."""
        return [pair for pair in self.seen(table, session) if predicate(pair[1])]

    def lock(self, row: Row, session: Session) -> Values:
        """Waits for the row and holds it to the end of the transaction. Returns it as it is then."""
        mine = session.transaction
        assert mine is not None
        if row.owner is not None and row.owner is not mine:
            if not self.scheduler.sleep(mine.patience, lambda: row.owner is None):
                self.roll_back(session)
                raise error("canceling statement due to lock timeout", "55P03")
            if session.transaction is not mine:
                raise error("the connection is closed: its transaction was rolled back")
        if row.owner is None:
            row.owner = mine
            mine.rows.append(row)
        values = row.draft if row.draft is not None else row.committed
        return values or {}

    def free(self, row: Row, session: Session) -> bool:
        """Whether SKIP LOCKED would not skip it."""
        return row.owner is None or row.owner is session.transaction

    def write(self, row: Row, values: Values, session: Session) -> None:
        """The draft of a row that this transaction holds."""
        assert session.transaction is not None and row.owner is session.transaction
        session.transaction.undo.append((row, row.draft))
        row.draft = values

    def insert(self, table: str, values: Values, session: Session, unique: str = "id") -> Row:
        """A new row. Raises IntegrityError for a second one with the same value in `unique`; waits where that is open."""
        mine = session.transaction
        assert mine is not None
        for row in list(self.tables[table]):
            values_there = row.draft if row.draft is not None else row.committed
            if values_there is not None and values_there[unique] == values[unique]:
                there = self.lock(row, session)
                if there:
                    raise IntegrityError(f"duplicate key: {table}.{unique}")
        row = Row()
        row.owner, row.draft = mine, values
        mine.rows.append(row)
        self.tables[table].append(row)
        self._table_of[id(row)] = table
        mine.undo.append((row, None))
        return row

    def next_id(self) -> int:
        """A serial."""
        self._next_id += 1
        return self._next_id

    def run(self, what: str, work: Callable[[Session], Any]) -> Any:
        """One statement, in the open transaction or in one of its own."""
        session = self.statement(what)
        if session.transaction is not None:
            return work(session)
        self.begin(session)
        try:
            result = work(session)
        except BaseException:
            self.roll_back(session)
            raise
        if session.transaction is not None and session.transaction.rows:
            self.commit(session)
        session.transaction = None
        return result

    def update(self, table: str, predicate: Predicate, change: Callable[[Values], Values], session: Session) -> int:
        """UPDATE: locks what matches, looks again at what it had to wait for, changes what still matches."""
        changed = 0
        for row, _ in self.select(table, predicate, session):
            waited = not self.free(row, session)
            values = self.lock(row, session)
            if waited and not (values and predicate(values)):
                continue
            self.write(row, {**values, **change(values)}, session)
            changed += 1
        return changed

    # --- for those who look on from outside

    def rows(self, table: str) -> Iterable[Values]:
        """What is committed."""
        return [row.committed for row in self.tables[table] if row.committed is not None]
