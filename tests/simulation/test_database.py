"""The simulated database answers as the real one does: the same random work on both, the same rows after each step."""

import random
from datetime import timedelta

import pytest
from django.db.models import F

from outbox import claim
from outbox.batch import Refusal
from outbox.ids import _from_ticks as uuid_of
from tests.outbox.conftest import TYPE
from tests.simulation import wiring
from tests.simulation.scheduler import Process
from tests.simulation.wiring import simulated
from tests.simulation.world import World
from webhooks import inbox
from webhooks.signing import Verified

# SQLite counts in milliseconds: two steps within one would be in no order.
pytestmark = [pytest.mark.django_db, pytest.mark.postgres]
STEPS = 60
# Far more than a slow machine takes for all of it: what is due is decided by the script alone.
LONG = 1000.0


@pytest.fixture(autouse=True)
def no_jitter_and_long_waits(monkeypatch, settings):
    monkeypatch.setattr(claim, "_backoff", lambda attempts: timedelta(seconds=LONG))
    monkeypatch.setattr(claim, "PARK_SECONDS", LONG)
    monkeypatch.setattr(claim, "BLAMELESS_RETRY_SECONDS", LONG)
    monkeypatch.setattr(inbox, "BACKOFF_BASE_SECONDS", LONG)
    settings.OUTBOX_MAX_ATTEMPTS = settings.INBOX_MAX_ATTEMPTS = 6


def work_the_outbox(seed):
    """Claims, settlements of every kind, leases that run out; yields what can be seen after each step."""
    chance, batches, sequences = random.Random(seed), [], dict.fromkeys("abc", 0)
    for step in range(STEPS):
        dice = chance.random()
        if dice < 0.3:
            key = chance.choice("abc")
            sequences[key] += 1
            claim.OutboxMessage.objects.bulk_create([outbox_row(step, key, sequences[key])])
        elif dice < 0.55:
            batch = claim.claim(limit=chance.choice((1, 2, 50)), lease_seconds=LONG, relay="r")
            if batch.events:
                batches.append(batch)
            yield [event.id for event in batch.events], batch.more
        elif dice < 0.85 and batches:
            batch = batches.pop(chance.randrange(len(batches)))
            verdicts = {event.id: chance.choice(("yes", "yes", "no", "never", "later", "")) for event in batch.events}
            reasons = {
                "no": Refusal("no"),
                "never": Refusal("no", permanent=True),
                "later": Refusal("no", blameless=True),
            }
            refused = {event_id: reasons[verdict] for event_id, verdict in verdicts.items() if verdict in reasons}
            confirmed = {event_id for event_id, verdict in verdicts.items() if verdict == "yes"}
            yield claim.settle(batch, confirmed=confirmed, refused=refused, channel="broker", confirm_ms=1)
        elif dice < 0.9 and batches:
            yield claim.abandon(batches.pop(), "raised")
        else:
            past = F("due_at") - timedelta(seconds=2 * LONG)
            claim.OutboxMessage.objects.filter(state="pending").update(due_at=past)
        fields = ("id", "state", "attempts", "parked", "error")
        rows = claim.OutboxMessage.objects.order_by("id").values_list(*fields, "lease_token")
        yield [(row[0], str(row[1]), *row[2:5], row[5] is None) for row in rows]


def outbox_row(step, key, sequence):
    return claim.OutboxMessage(
        id=uuid_of((1 << 50) + step, step), topic="transactions", type=TYPE, key=key, sequence=sequence, body="{}"
    )  # fmt: skip


def work_the_inbox(seed):
    """New results, copies, other bytes; workers that settle, fail, hand back or die."""
    chance, claimed, known = random.Random(seed), [], 0
    for _ in range(STEPS):
        dice = chance.random()
        if dice < 0.35:
            known += chance.random() < 0.7
            body = b"{}" if chance.random() < 0.9 else b"{ }"
            verified = Verified(f"id-{chance.randrange(known + 1)}", 0, "key")
            try:
                recorded = inbox.record(verified, body, door="webhook", state=inbox.State.RECEIVED)
                yield recorded.state, recorded.new
            except inbox.WebhookIdReusedError:
                yield "reused"
        elif dice < 0.6:
            rows = inbox.claim(chance.choice((1, 4, 50)))
            claimed += rows
            yield sorted((row.webhook_id, row.attempts) for row in rows)
        elif dice < 0.85 and claimed:
            row = claimed.pop(chance.randrange(len(claimed)))
            try:
                kind = chance.choice(("applied", "failed", "release"))
                if kind == "release":
                    yield inbox.release([row])
                elif kind == "failed":
                    yield inbox.retry_failed(row, "raised")
                else:
                    inbox.settle([inbox.Settlement(row, inbox.State.APPLIED, type="t")])
            except inbox.LeaseLostError:
                yield "lost"
        else:
            past = F("due_at") - timedelta(seconds=3 * LONG)
            inbox.InboxMessage.objects.filter(state__in=["received", "failed"]).update(due_at=past)
        fields = ("webhook_id", "state", "attempts", "deliveries", "reason")
        rows = inbox.InboxMessage.objects.order_by("webhook_id").values_list(*fields, "lease_token", "applied_at")
        yield [(row[0], str(row[1]), *row[2:5], row[5] is None, row[6] is None) for row in rows]


def in_the_simulation(work, seed):
    found = []
    with simulated():
        world = World(seed)
        # The script is no relay: it says "published" of what nobody sent.
        world.database.on_commit = lambda *_: None
        process = Process(world.scheduler, "script", lambda _: found.extend(map(repr, work(seed))))
        while not process.greenlet.dead:
            world.scheduler.enter(process)
            world.scheduler.now += 0.001
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("work", [work_the_outbox, work_the_inbox])
def test_the_same_work_leaves_the_same_rows(work, seed, monkeypatch, settings):
    settings.INBOX_LEASE_SECONDS = LONG
    for name in ("OUTBOX_MAX_ATTEMPTS", "INBOX_LEASE_SECONDS"):
        monkeypatch.setitem(wiring.SETTINGS, name, getattr(settings, name))
    simulation, reality = in_the_simulation(work, seed), list(map(repr, work(seed)))
    for step, (ours, theirs) in enumerate(zip(simulation, reality, strict=True)):
        assert ours == theirs, f"seed {seed}, step {step}"
    assert len(reality) > STEPS
