"""Judges a run: what clients were told, what the database says, what was on the wire, what was applied. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from decimal import Decimal

TERMINAL = {"succeeded", "failed", "canceled"}


@dataclass(frozen=True)
class Told:
    """A transaction as a client was told of it: version and amount stand in an answer with 2xx."""

    key: str
    id: str
    version: int
    amount: str


@dataclass(frozen=True)
class Row:
    """A transaction in the database."""

    status: str
    version: int
    amount: str


@dataclass(frozen=True)
class Effect:
    """One write to a transaction, in the order in which they were made, noted by a trigger beside the product."""

    id: str
    status: str
    version: int
    was: str | None = None


@dataclass(frozen=True)
class Event:
    """An outbox row."""

    key: str
    sequence: int
    state: str
    channel: str
    leased: bool = False


@dataclass
class Evidence:
    """All that was found, from four places that know nothing of each other."""

    told: list[Told] = field(default_factory=list)
    # Transactions whose cancellation was answered with 204.
    told_canceled: set[str] = field(default_factory=set)
    # Idempotency keys that were used, with the number of transactions that each stands for.
    attempted: dict[str, int] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    events: dict[str, Event] = field(default_factory=dict)
    # (transaction id, webhook id) of each result that the history says was applied.
    applied: list[tuple[str, str]] = field(default_factory=list)
    inbox_waiting: int = 0
    inbox_dead: int = 0
    wire: list[tuple[str, str, int]] = field(default_factory=list)
    # Event ids that the Consumer knows, by whichever door.
    consumed: set[str] = field(default_factory=set)
    # (transaction id, version, type) of each result that the Consumer decided.
    decided: list[tuple[str, int, str]] = field(default_factory=list)
    queues: dict[str, int] = field(default_factory=dict)
    # Transactions that a row sacrifices on purpose, and which end in a visible dead letter.
    sacrificed: set[str] = field(default_factory=set)


@dataclass
class Verdict:
    """Counts of what must not be. `why` names up to five of each."""

    sent: int = 0
    confirmed: int = 0
    lost: int = 0
    phantom: int = 0
    double: int = 0
    out_of_order: int = 0
    stuck: int = 0
    wire_dups: int = 0
    why: dict[str, list[str]] = field(default_factory=dict)

    def count(self, name: str, found: Iterable[str]) -> None:
        names = list(found)
        setattr(self, name, getattr(self, name) + len(names))
        if names:
            self.why.setdefault(name, []).extend(names[:5])

    def bad(self) -> bool:
        return bool(self.lost or self.phantom or self.double or self.out_of_order or self.stuck)

    def line(self) -> dict:
        return {name: value for name, value in asdict(self).items() if name != "why" or value}


def judge(evidence: Evidence, *, drained: bool = True) -> Verdict:
    """`drained` False: in the middle of faults, where what waits is no failure yet."""
    verdict = Verdict(sent=sum(evidence.attempted.values()))
    verdict.confirmed = len({told.id for told in evidence.told if told.key in evidence.attempted})
    _lost(evidence, verdict)
    _phantom(evidence, verdict)
    _double(evidence, verdict)
    _out_of_order(evidence, verdict)
    if drained:
        _stuck(evidence, verdict)
    copies = Counter(event_id for event_id, _, _ in evidence.wire)
    # By the broker more than once, or by the broker and then by webhook too.
    verdict.wire_dups = sum(count - 1 for count in copies.values()) + sum(
        event.channel == "webhook" and event_id in copies for event_id, event in evidence.events.items()
    )
    return verdict


def _lost(evidence: Evidence, verdict: Verdict) -> None:
    """Told and not there; changed and no event; said to be delivered and seen by nobody."""
    verdict.count("lost", (f"no row for {told.id}" for told in evidence.told if told.id not in evidence.rows))
    for told in evidence.told:
        row = evidence.rows.get(told.id)
        if row and row.version < told.version:
            verdict.count("lost", [f"{told.id} told version {told.version}, has {row.version}"])
        if row and Decimal(row.amount) != Decimal(told.amount):
            verdict.count("lost", [f"{told.id} told {told.amount}, has {row.amount}"])
    for txn_id in evidence.told_canceled:
        if txn_id not in evidence.rows or evidence.rows[txn_id].status != "canceled":
            verdict.count("lost", [f"{txn_id} told canceled, is not"])
    have = {(event.key, event.sequence) for event in evidence.events.values()}
    verdict.count(
        "lost",
        (
            f"no event for {txn_id} version {version}"
            for txn_id, row in evidence.rows.items()
            for version in range(1, row.version + 1)
            if (txn_id, version) not in have
        ),
    )
    seen = {event_id for event_id, _, _ in evidence.wire} | evidence.consumed
    verdict.count(
        "lost",
        (
            f"event {event_id} is published by {event.channel} and nobody saw it"
            for event_id, event in evidence.events.items()
            if event.state == "published" and event_id not in seen
        ),
    )


def _phantom(evidence: Evidence, verdict: Verdict) -> None:
    """Seen outside, and no committed change behind it."""
    seen = {event_id for event_id, _, _ in evidence.wire} | evidence.consumed
    verdict.count("phantom", (f"event {event_id} has no row" for event_id in sorted(seen - evidence.events.keys())))
    for event in evidence.events.values():
        row = evidence.rows.get(event.key)
        if row is None or row.version < event.sequence:
            verdict.count("phantom", [f"event for {event.key} version {event.sequence} has no change"])


def _double(evidence: Evidence, verdict: Verdict) -> None:
    """An effect made twice: by the trigger's ledger, by the history, by the Consumer; a key answered with two ids."""
    ended = Counter(
        effect.id for effect in evidence.effects if effect.status in TERMINAL and effect.status != effect.was
    )
    verdict.count("double", (f"{txn_id} ended {count} times" for txn_id, count in ended.items() if count > 1))
    applied = Counter(txn_id for txn_id, _ in evidence.applied)
    # `processing` is not sent by this Consumer, so that each transaction has one result at most.
    verdict.count("double", (f"{txn_id}: {count} results applied" for txn_id, count in applied.items() if count > 1))
    decided = Counter(evidence.decided)
    verdict.count("double", (f"{what} decided {count} times" for what, count in decided.items() if count > 1))
    ids: dict[str, set[str]] = defaultdict(set)
    for told in evidence.told:
        if not told.key.startswith("burst-"):
            ids[told.key].add(told.id)
    verdict.count("double", (f"key {key} made {len(made)}" for key, made in ids.items() if len(made) > 1))


def _out_of_order(evidence: Evidence, verdict: Verdict) -> None:
    """First arrivals of a key must grow; a version never shrinks; what has ended stays."""
    newest: dict[str, int] = {}
    seen: set[str] = set()
    for event_id, key, sequence in evidence.wire:
        if event_id in seen:
            continue
        seen.add(event_id)
        if sequence <= newest.get(key, 0):
            verdict.count("out_of_order", [f"{key}: {sequence} first came after {newest[key]}"])
        newest[key] = max(sequence, newest.get(key, 0))
    last: dict[str, Effect] = {}
    for effect in evidence.effects:
        before = last.get(effect.id)
        if before and effect.version < before.version:
            verdict.count("out_of_order", [f"{effect.id}: version {before.version} became {effect.version}"])
        if before and before.status in TERMINAL and effect.status != before.status:
            verdict.count("out_of_order", [f"{effect.id}: {before.status} became {effect.status}"])
        last[effect.id] = effect


def _stuck(evidence: Evidence, verdict: Verdict) -> None:
    """Nothing may wait any more, except what was sacrificed and is seen in a dead letter."""
    verdict.count(
        "stuck",
        (
            f"{txn_id} is {row.status}"
            for txn_id, row in evidence.rows.items()
            if row.status not in TERMINAL and txn_id not in evidence.sacrificed
        ),
    )
    verdict.count(
        "stuck",
        (
            f"event {event_id} is {event.state}{' under a lease' if event.leased else ''}"
            for event_id, event in evidence.events.items()
            if event.state != "published" and event.key not in evidence.sacrificed
        ),
    )
    verdict.count("stuck", (f"a result waits ({number})" for number in range(evidence.inbox_waiting)))
    dead = max(0, evidence.inbox_dead - len(evidence.sacrificed))
    verdict.count("stuck", (f"a result is dead ({number})" for number in range(dead)))
    for name, messages in waiting_in(evidence.queues, len(evidence.sacrificed)).items():
        verdict.count("stuck", [f"{messages} messages in {name}"])


def waiting_in(queues: dict[str, int], sacrificed: int) -> dict[str, int]:
    """The queues in which something is left that should not be; ticks come and go for ever."""
    return {
        name: messages
        for name, messages in queues.items()
        if messages > (sacrificed if name.endswith(".dead") else 0) and not name.startswith("producer.tasks")
    }
