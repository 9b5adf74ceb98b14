"""What the Consumer remembers: each event once, the newest version of each transaction, each result to deliver."""

from django.db import models
from django.db.models import Q


class Event(models.Model):
    """One event of the Producer, whichever door it came by, and what became of it."""

    class State(models.TextChoices):
        RECEIVED = "received"  # stored by the fallback door, waits for the courier
        DECIDED = "decided"  # a result exists
        RECORDED = "recorded"  # a cancellation: nothing to answer
        STALE = "stale"  # older than a version that was seen before
        QUARANTINED = "quarantined"  # authentic, but not an event; kept for a person

    class Door(models.TextChoices):
        BROKER = "broker"
        WEBHOOK = "webhook"

    event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=64, blank=True)
    transaction_id = models.CharField(max_length=36, blank=True, db_index=True)
    sequence = models.BigIntegerField(default=0)
    door = models.CharField(max_length=8, choices=Door.choices)
    state = models.CharField(max_length=12, choices=State.choices)
    reason = models.CharField(max_length=255, blank=True)
    deliveries = models.PositiveIntegerField(default=1)
    # Raw bytes, held only while somebody still needs them: until processed, or as the evidence of a quarantine.
    body = models.BinaryField(default=b"")
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    received_at = models.DateTimeField()
    processed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "consumer_event"
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(state="received"), name="consumer_event_due"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["received", "decided", "recorded", "stale", "quarantined"]),
                name="consumer_event_state",
            ),
        ]

    def __str__(self) -> str:
        return self.event_id


class SeenTransaction(models.Model):
    """The newest version that we saw of a transaction. Its row lock puts the events of one transaction in line."""

    transaction_id = models.CharField(max_length=36, primary_key=True)
    last_sequence = models.BigIntegerField(default=0)
    # A hash of what makes two transactions look the same; the account number itself is not kept.
    fingerprint = models.CharField(max_length=64, blank=True)
    canceled = models.BooleanField(default=False)
    seen_at = models.DateTimeField()

    class Meta:
        db_table = "consumer_transaction"
        indexes = [models.Index(fields=["fingerprint", "seen_at"], name="consumer_transaction_twins")]

    def __str__(self) -> str:
        return self.transaction_id


class Result(models.Model):
    """One result: its bytes are frozen with its webhook-id, so that each copy is recognised as a copy."""

    class State(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        SUPERSEDED = "superseded"  # a newer version of the transaction arrived first
        DEAD = "dead"  # refused for good, or the last retry failed; a person decides

    class Door(models.TextChoices):
        WEBHOOK = "webhook"
        QUEUE = "queue"

    webhook_id = models.CharField(max_length=64, unique=True)
    event = models.ForeignKey(Event, on_delete=models.PROTECT, related_name="results")
    transaction_id = models.CharField(max_length=36, db_index=True)
    transaction_version = models.BigIntegerField()
    type = models.CharField(max_length=64)
    body = models.TextField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.PENDING)
    door = models.CharField(max_length=8, choices=Door.choices, blank=True)
    # POSTs made, over the whole life of the row.
    attempts = models.PositiveIntegerField(default=0)
    # Delivery rounds that failed since the row was last (re)opened: the place in the retry schedule.
    rounds = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    lease_token = models.CharField(max_length=32, blank=True)
    last_status = models.PositiveSmallIntegerField(null=True)
    last_error = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "consumer_result"
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(state="pending"), name="consumer_result_due"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["pending", "delivered", "superseded", "dead"]), name="consumer_result_state"
            ),
        ]

    def __str__(self) -> str:
        return self.webhook_id
