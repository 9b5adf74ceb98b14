"""Results as they were received, evidence of ids that came twice with other bytes, and the keys that prove them."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

INBOX_STATES = [
    "received",
    "applied",
    "noop",
    "conflict",
    "superseded",
    "unmatched",
    "quarantined",
    "failed",
    "dead",
]


class InboxMessage(models.Model):
    """One result, owned from the moment its signature was good. Changed after its insert by `inbox` alone."""

    class State(models.TextChoices):
        """Contract section 4. `received`, `failed` and `unmatched` wait for the worker; the others are settled."""

        RECEIVED = "received"
        APPLIED = "applied"
        NOOP = "noop"
        CONFLICT = "conflict"
        SUPERSEDED = "superseded"
        UNMATCHED = "unmatched"
        QUARANTINED = "quarantined"
        FAILED = "failed"
        DEAD = "dead"

    WAITING = (State.RECEIVED, State.FAILED, State.UNMATCHED)

    id = models.BigAutoField(primary_key=True)
    webhook_id = models.CharField(max_length=255, unique=True)
    sha256 = models.BinaryField(max_length=32)
    body = models.BinaryField(help_text="The raw bytes as they were signed.")
    key_id = models.CharField(max_length=64, help_text="Which key proved it.")
    sent_at = models.BigIntegerField(help_text="webhook-timestamp of the first delivery, unix seconds.")
    door = models.CharField(max_length=7, help_text="webhook or queue")
    received_at = models.DateTimeField(db_default=Now())
    deliveries = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=12, choices=State.choices)
    reason = models.TextField(default="")
    discarded = models.BooleanField(
        default=False, db_default=False, help_text="Given up by an operator's word; asks nobody for anything."
    )
    transaction_id = models.UUIDField(null=True)
    type = models.CharField(max_length=100, default="")
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())
    lease_token = models.UUIDField(null=True)
    applied_at = models.DateTimeField(null=True)

    class Meta:
        """The worker finds what is due by one partial index, whatever has been settled before."""

        indexes = [
            models.Index(
                fields=["due_at", "id"], condition=Q(state__in=["received", "failed", "unmatched"]), name="inbox_due"
            ),
            models.Index(fields=["transaction_id"], name="inbox_transaction"),
            models.Index(fields=["state", "-id"], name="inbox_state"),
            # Small while all goes well, so that the dashboard can always count it.
            models.Index(
                fields=["id"],
                condition=Q(state__in=["dead", "quarantined", "conflict"], discarded=False),
                name="inbox_stuck",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=INBOX_STATES), name="inbox_state_known"),
        ]

    def __str__(self) -> str:
        return self.webhook_id


class ReusedWebhookId(models.Model):
    """Evidence: other bytes under an id that was taken. Never applied."""

    first = models.ForeignKey(InboxMessage, on_delete=models.CASCADE, related_name="reused")
    sha256 = models.BinaryField(max_length=32)
    body = models.BinaryField()
    received_at = models.DateTimeField(db_default=Now())
    deliveries = models.PositiveIntegerField(default=1)

    class Meta:
        """The same wrong bytes again only count up."""

        constraints = [models.UniqueConstraint(fields=["first", "sha256"], name="reused_bytes_once")]

    def __str__(self) -> str:
        return f"{self.first_id} again"


class WebhookKey(models.Model):
    """A key of one direction, beside those from settings. Changed by `key_store` alone; the secret is sealed."""

    class Direction(models.TextChoices):
        """Who signs: the Consumer its results, the Producer what it sends to the Consumer."""

        RESULT = "result"
        CONSUMER = "consumer"

    class Kind(models.TextChoices):
        """`shared` whsec_ (v1), `signing` whsk_ of ours (v1a), `public` whpk_ of the Consumer (v1a)."""

        SHARED = "shared"
        SIGNING = "signing"
        PUBLIC = "public"

    direction = models.CharField(max_length=8, choices=Direction.choices)
    kind = models.CharField(max_length=7, choices=Kind.choices)
    key_id = models.CharField(max_length=64, help_text="From the key's hash; stands on inbox rows and in logs.")
    sealed = models.BinaryField(null=True, help_text="The secret, encrypted with a key derived from SECRET_KEY.")
    public = models.CharField(max_length=100, default="", help_text="whpk_… where there is a public half.")
    not_before = models.DateTimeField(db_default=Now())
    retire_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True, help_text="To the minute: when it is safe to drop the key.")
    created_at = models.DateTimeField(db_default=Now())
    note = models.CharField(max_length=255, default="")

    class Meta:
        """What has no secret is public, and the other way round; each side keeps its own private half."""

        constraints = [
            models.UniqueConstraint(fields=["direction", "key_id"], name="webhook_key_once"),
            models.CheckConstraint(
                condition=Q(direction="result", kind__in=["shared", "public"])
                | Q(direction="consumer", kind__in=["shared", "signing"]),
                name="webhook_key_kind",
            ),
            models.CheckConstraint(
                condition=Q(kind="public", sealed=None) | (~Q(kind="public") & Q(sealed__isnull=False)),
                name="webhook_key_sealed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.direction} {self.key_id}"


class Refusal(models.Model):
    """How often results were refused for one reason at one door. No id, no bytes: a stranger may have sent them."""

    name = models.CharField(primary_key=True, max_length=64, help_text="door:reason")
    door = models.CharField(max_length=7)
    reason = models.CharField(max_length=50)
    count = models.BigIntegerField(default=0)
    last_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name
