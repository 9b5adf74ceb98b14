"""The same claims as tests/simulation, over the real statements: relays, crashes, freezes and refusals by twenty seeds."""

import random
from collections import Counter
from datetime import timedelta

import pytest
from django.db.models import F

from outbox.batch import Refusal
from outbox.claim import claim, release, settle
from outbox.models import OutboxMessage
from tests.outbox.conftest import add_event

pytestmark = pytest.mark.django_db
LEASE_SECONDS = 30
KEYS, EVENTS_PER_KEY, RELAYS, STEPS = 4, 6, 3, 120


class Relay:
    """A relay whose every step can be the last for now (frozen), or the last of all (dead)."""

    def __init__(self, world):
        self.world, self.batch, self.position = world, None, 0

    def step(self):
        random = self.world.random
        if self.batch is None:
            self.batch = claim(limit=random.choice([1, 3, 50]), lease_seconds=LEASE_SECONDS, relay="r")
            self.position, self.confirmed, self.refused, self.stopped = 0, set(), {}, set()
            if not self.batch.events:
                self.batch = None
        elif self.position < len(self.batch.events):
            event = self.batch.events[self.position]
            self.position += 1
            if event.key in self.stopped:
                return
            if random.random() < self.world.failure:
                self.stopped.add(event.key)
                if random.random() < 0.7:
                    self.refused[event.id] = Refusal("no", blameless=random.random() < 0.5)
            else:
                self.world.wire.append(event)
                self.confirmed.add(event.id)
        elif random.random() < 0.1 * bool(self.world.failure):
            release(self.batch, "stopped before it settled")
            self.batch = None
        else:
            settled = settle(self.batch, confirmed=self.confirmed, refused=self.refused, channel="broker", confirm_ms=0)
            self.world.published += settled.published
            self.batch = None

    def die(self):
        self.batch = None


class World:
    def __init__(self, seed):
        self.random, self.failure = random.Random(seed), 0.15
        self.wire, self.published = [], 0
        self.relays = [Relay(self) for _ in range(RELAYS)]
        self.to_come = {f"key-{number}": 0 for number in range(KEYS)}

    def enqueue(self):
        key = self.random.choice(list(self.to_come))
        if self.to_come[key] < EVENTS_PER_KEY:
            self.to_come[key] += 1
            add_event(key, self.to_come[key])

    def pass_time(self, seconds):
        OutboxMessage.objects.filter(state="pending").update(due_at=F("due_at") - timedelta(seconds=seconds))

    def run(self):
        for _ in range(STEPS):
            dice = self.random.random()
            if dice < 0.2:
                self.enqueue()
            elif dice < 0.24:
                self.random.choice(self.relays).die()
            elif dice < 0.34:
                # Long enough for a lease to end: whoever holds one now is a relay that was frozen.
                self.pass_time(self.random.choice([1, 10, LEASE_SECONDS + 1]))
            else:
                self.random.choice(self.relays).step()

    def heal_and_drain(self):
        """The faults stop: everything must be delivered, whatever state it was left in."""
        self.failure = 0
        for _ in range(400):
            for relay in self.relays:
                while True:
                    relay.step()
                    if relay.batch is None:
                        break
            if not OutboxMessage.objects.filter(state="pending").exists():
                return
            self.pass_time(LEASE_SECONDS + 1)
        raise AssertionError(list(OutboxMessage.objects.filter(state="pending").values()))


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_nothing_overtakes_and_each_event_is_settled_once(seed, settings):
    settings.OUTBOX_MAX_ATTEMPTS = 10_000
    settings.OUTBOX_BACKOFF_CAP_SECONDS = 60.0
    world = World(seed)
    world.run()
    world.heal_and_drain()
    enqueued = sum(world.to_come.values())
    assert OutboxMessage.objects.filter(state="published").count() == world.published == enqueued, f"seed {seed}"
    arrivals = Counter()
    for event in world.wire:
        assert event.sequence <= arrivals[event.key] + 1, f"seed {seed}: {event.key} skipped to {event.sequence}"
        arrivals[event.key] = max(arrivals[event.key], event.sequence)
    assert arrivals == Counter({key: count for key, count in world.to_come.items() if count})
