"""The rows of the outbox: events that wait for delivery, and what is known of each channel."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from outbox.ids import uuid7


class OutboxMessage(models.Model):
    """One event. Written in the business transaction; changed afterwards by `claim` alone.

    There is no "processing" state: a lease is a due time in the future plus a token. So one index finds what to send
    (`due_at`), whether it is new, was handed back, waits for its next attempt, or was left behind by a dead relay. The token
    `claim.LEFT_BEHIND` is nobody's: a suspect that waits, and no lease.
    """

    class State(models.TextChoices):
        """Where an event stands; the API and the admin show the same words."""

        PENDING = "pending"
        PUBLISHED = "published"
        DEAD = "dead"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    topic = models.CharField(max_length=64, help_text="Which route of OUTBOX_ROUTES carries it.")
    type = models.CharField(max_length=100, help_text="CloudEvents type; the routing key.")
    key = models.CharField(max_length=255, help_text="Events of one key are delivered in order of `sequence`.")
    sequence = models.BigIntegerField()
    body = models.TextField(help_text="The CloudEvent as JSON; the same bytes on every attempt and channel.")
    created_at = models.DateTimeField(db_default=Now())
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    due_at = models.DateTimeField(db_default=Now(), help_text="Not before; while leased, when the lease ends.")
    attempts = models.PositiveIntegerField(default=0)
    parked = models.BooleanField(default=False, help_text="Waits for an earlier event of its key.")
    discarded = models.BooleanField(
        default=False, db_default=False, help_text="Dead by an operator's word; blocks nobody."
    )
    lease_token = models.UUIDField(null=True, help_text="Who may settle it; null when nobody works on it.")
    claimed_by = models.CharField(max_length=100, default="", help_text="The relay that claimed it last.")
    error = models.TextField(default="", help_text="Why the last attempt did not deliver it.")
    channel = models.CharField(max_length=16, default="", help_text="Which channel delivered it: broker or webhook.")
    published_at = models.DateTimeField(null=True)
    requeued_at = models.DateTimeField(null=True, help_text="When it was made to wait once more, the last time.")
    confirm_ms = models.PositiveIntegerField(null=True, help_text="From the first write to the channel's confirmation.")

    class Meta:
        """Partial indexes, so that a claim costs the same with a million published rows as with none."""

        indexes = [
            models.Index(fields=["due_at", "id"], condition=Q(state="pending"), name="outbox_due"),
            models.Index(fields=["key", "sequence"], name="outbox_key"),
            models.Index(
                fields=["key", "sequence"], condition=Q(state__in=["pending", "dead"]), name="outbox_key_waiting"
            ),
            models.Index(fields=["key", "sequence"], condition=Q(parked=True), name="outbox_parked"),
            models.Index(fields=["id"], condition=Q(state="dead"), name="outbox_dead"),
            models.Index(fields=["published_at"], condition=Q(state="published"), name="outbox_published"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=["pending", "published", "dead"]), name="outbox_state_known"),
            models.CheckConstraint(
                condition=~Q(state="published") | Q(published_at__isnull=False), name="outbox_published_has_time"
            ),
            models.CheckConstraint(
                condition=Q(lease_token__isnull=True) | Q(state="pending"), name="outbox_lease_only_pending"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class ChannelState(models.Model):
    """The breaker of one channel, shared by every relay: since when it fails, and when to try it again."""

    name = models.CharField(primary_key=True, max_length=16)
    failing_since = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True, help_text="When the next probe may go out.")
    failures = models.PositiveIntegerField(default=0)
    disabled = models.BooleanField(default=False, help_text="The receiver said 410 Gone; only an operator re-enables.")
    reason = models.TextField(default="")
    changed_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name


class ProcessState(models.Model):
    """A process that says now and then that it is alive. Whoever is silent for long is dead, hung or cut off."""

    name = models.CharField(primary_key=True, max_length=150, help_text="kind@host:pid")
    kind = models.CharField(max_length=16, help_text="relay, worker or beat")
    seen_at = models.DateTimeField(db_default=Now(), help_text="By the database's clock.")
    clock_offset_seconds = models.FloatField(default=0, help_text="Its clock minus the database's.")
    database_seconds = models.FloatField(default=0, help_text="The longer of its last two statements.")
    note = models.TextField(default="", help_text="What it suffers from; empty while it is well.")

    def __str__(self) -> str:
        return self.name


class QueueState(models.Model):
    """A queue as the broker described it last."""

    name = models.CharField(primary_key=True, max_length=255)
    messages = models.PositiveIntegerField(default=0)
    consumers = models.PositiveIntegerField(default=0)
    seen_at = models.DateTimeField(db_default=Now())
    remade_at = models.DateTimeField(null=True, help_text="When it was found missing and declared anew, the last time.")

    def __str__(self) -> str:
        return self.name
