"""What must hold at every commit, and at the end (contract section 5)."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING
from uuid import UUID

from outbox.claim import LEFT_BEHIND
from tests.simulation.database import Values

if TYPE_CHECKING:
    from tests.simulation.world import World

TERMINAL = {"succeeded", "failed", "canceled"}


class Broken(AssertionError):
    """A promise was not kept. Remembered as well as raised: the code under test catches what its work raises."""


class Watch:
    """Sees every arrival and every commit of a world."""

    def __init__(self, world: "World") -> None:
        self.world = world
        # Per transaction the versions in the order in which a channel took them.
        self.arrivals: defaultdict[UUID, list[int]] = defaultdict(list)
        self.arrived: set[UUID] = set()
        # Events that a channel refused on their own account, and transactions of which one was refused in a pipeline.
        self.refusals: Counter[UUID] = Counter()
        self.disturbed: set[UUID] = set()
        self.applied: Counter[str] = Counter()
        self.outcomes: Counter[UUID] = Counter()
        # Who claimed under which token.
        self.claimed_by: dict[UUID, tuple[str, int]] = {}
        self.broken: Broken | None = None

    def _broken(self, words: str) -> None:
        self.broken = self.broken or Broken(words)
        raise self.broken

    def arrival(self, event_id: UUID) -> None:
        """A channel has the event. The first time, everything before it must have arrived."""
        event = self.world.events[event_id]
        so_far = self.arrivals[event.transaction_id]
        first = event.version not in so_far and event.transaction_id not in self.disturbed
        if first and event.version > max(so_far, default=0) + 1:
            self._broken(f"out of order: version {event.version} after {so_far}")
        so_far.append(event.version)
        self.arrived.add(event_id)

    def refusal(self, event_id: UUID, burns: bool) -> None:
        """A channel said no to this one; what was pipelined behind it may overtake, and is then sent again after it."""
        if burns:
            self.refusals[event_id] += 1
        self.disturbed.add(self.world.events[event_id].transaction_id)

    def commit(self, table: str, before: Values | None, after: Values) -> None:
        """A row changed."""
        if table in {"outbox", "inbox"}:
            self._fence(before, after)
        if table == "outbox" and after["state"] == "published" and (before is None or before["state"] != "published"):
            if after["id"] not in self.arrived:
                self._broken(f"false 'sent': version {after['sequence']} never arrived")
        elif table == "txn" and before is not None:
            if before["status"] in TERMINAL and after["status"] != before["status"]:
                self._broken(f"terminal status changed: {before['status']} to {after['status']}")
            if after["version"] < before["version"]:
                self._broken("a version went back")
        elif table == "history" and before is None:
            self._history(after)

    def _fence(self, before: Values | None, after: Values) -> None:
        """While a lease runs, only who has it may settle."""
        process = self.world.scheduler.current
        assert process is not None
        me = (process.name, process.lives)
        held, token = before and before["lease_token"], after["lease_token"]
        running = before and before["due_at"] > self.world.database.clock()
        if held and held not in (token, LEFT_BEHIND) and running and self.claimed_by[held] != me:
            self._broken(f"{me} settled what {self.claimed_by[held]} holds")
        if token and token != held:
            self.claimed_by[token] = me
        if after["attempts"] < 0:
            self._broken("fewer than no attempts")

    def _history(self, entry: Values) -> None:
        if entry["kind"] == "result" and entry["state"] == "applied":
            self.applied[entry["webhook_id"]] += 1
            if self.applied[entry["webhook_id"]] > 1:
                self._broken(f"applied twice: {entry['webhook_id']}")
        if entry["kind"] == "change" and entry["status"] in {"succeeded", "failed"}:
            self.outcomes[entry["transaction_id"]] += 1
            if self.outcomes[entry["transaction_id"]] > 1:
                self._broken("two outcomes of one transaction")

    def end(self) -> None:
        """After everything came to rest."""
        world = self.world
        rows = list(world.database.rows("outbox"))
        if lost := [row["sequence"] for row in rows if row["id"] not in self.arrived or row["state"] != "published"]:
            raise Broken(f"lost: versions {lost}")
        if {row["id"] for row in rows} != set(world.committed_events):
            raise Broken("events and committed changes are not the same")
        self._order()
        excuses = world.losses + world.database.faults
        for row in rows:
            if row["attempts"] > 1 + self.refusals[row["id"]] + excuses:
                raise Broken(
                    f"attempts burned: {row['attempts']}, {self.refusals[row['id']]} refusals, {excuses} losses"
                )
        self._results()

    def _order(self) -> None:
        """What overtook in a pipeline must have come once more after what it overtook."""
        for versions in self.arrivals.values():
            for version in set(versions):
                last = len(versions) - 1 - versions[::-1].index(version)
                for earlier in range(1, version):
                    if earlier not in versions or versions.index(earlier) > last:
                        raise Broken(f"out of order for good: {versions}")

    def _results(self) -> None:
        world = self.world
        inbox = {row["webhook_id"]: row for row in world.database.rows("inbox")}
        sent = {result.webhook_id: result for result in world.consumer.results}
        if len(inbox) != len(list(world.database.rows("inbox"))) or set(inbox) != set(sent):
            raise Broken("the inbox has not exactly the results that were sent")
        told: dict[str, list[str]] = {webhook_id: [] for webhook_id in inbox}
        for entry in world.database.rows("history"):
            if entry["kind"] == "result":
                told[entry["webhook_id"]].append(entry["state"])
        for webhook_id, row in inbox.items():
            if row["state"] not in {"applied", "noop", "conflict", "superseded"}:
                raise Broken(f"result {webhook_id} ended {row['state']}: {row['reason']}")
            if told[webhook_id] != [row["state"]]:
                raise Broken(f"result {webhook_id} is {row['state']}, its history says {told[webhook_id]}")
        for txn in world.database.rows("txn"):
            finals = {
                result.outcome
                for result in sent.values()
                if (result.transaction_id, result.version) == (txn["id"], txn["version"])
                and result.outcome != "processing"
            }
            if txn["status"] != "canceled" and {txn["status"]} != finals:
                raise Broken(f"{txn['status']} although the Consumer said {finals}")
