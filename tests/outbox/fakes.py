"""A channel in memory whose behaviour a test decides."""

from django.db import connection

from outbox.publisher import Outcome


class FakePublisher:
    """Confirms everything unless `answer` says otherwise; remembers what it was given."""

    name = "broker"

    def __init__(self):
        self.sent, self.closed, self.answer = [], 0, None
        # A test may run in transactions of its own; the relay must be in none beyond these.
        self.depth = len(connection.atomic_blocks)

    def available(self):
        return True

    def publish(self, events, routes, deadline):
        assert len(connection.atomic_blocks) == self.depth, "network inside a database transaction"
        self.sent.append([(event.key, event.sequence) for event in events])
        if self.answer is not None:
            return self.answer(events)
        return Outcome(confirmed={event.id for event in events})

    def close(self):
        self.closed += 1
