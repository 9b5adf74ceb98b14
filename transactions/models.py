"""Bank transactions with their history, and the clients that submit them."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from outbox.ids import uuid7
from transactions.fields import ExactDecimalField
from transactions.states import Status

STATUS_CHOICES = [(status.value, status.value) for status in Status]


class ApiClient(models.Model):
    """Who submits transactions; owns them whatever key was used."""

    name = models.CharField(max_length=100, unique=True)
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name

    @property
    def is_authenticated(self) -> bool:
        """What DRF asks of a user."""
        return True


class ApiKey(models.Model):
    """One of a client's keys. Only the hash is stored; the prefix tells keys apart in lists."""

    client = models.ForeignKey(ApiClient, on_delete=models.PROTECT, related_name="keys")
    prefix = models.CharField(max_length=16)
    hash = models.BinaryField(max_length=32, unique=True, help_text="SHA-256; the key has 256 random bits.")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")

    def __str__(self) -> str:
        return f"{self.prefix}…"


class ClientRate(models.Model):
    """The rate limiter's memory: one row per client, changed by one atomic statement per request.

    UNLOGGED on PostgreSQL: no request waits for the disk because of its rate. A crash empties it, which grants each
    client a fresh burst; the rows come back by themselves.
    """

    client = models.OneToOneField(ApiClient, on_delete=models.CASCADE, primary_key=True, related_name="rate")
    spent_until = models.FloatField(default=0, help_text="Unix time up to which the allowance is used (GCRA).")

    def __str__(self) -> str:
        return f"rate of {self.client_id}"


class Transaction(models.Model):
    """A bank transaction as the client submitted it, and what became of it. `id` sorts by creation."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # db_index: the indexes below begin with it; one more would only cost each insert.
    client = models.ForeignKey(ApiClient, on_delete=models.PROTECT, related_name="transactions", db_index=False)
    external_id = models.CharField(max_length=64, null=True)  # noqa: DJ001 - null: many rows without one
    account_number = models.CharField(max_length=34)
    amount = ExactDecimalField()
    currency = models.CharField(max_length=3)
    direction = models.CharField(max_length=6)
    transaction_date = models.DateTimeField()
    description = models.CharField(max_length=255, default="")
    metadata = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=STATUS_CHOICES, default=Status.PENDING.value)
    version = models.PositiveIntegerField(default=1)
    processed_data = models.JSONField(null=True)
    error = models.JSONField(null=True)
    overdue = models.BooleanField(default=False)
    resends = models.PositiveIntegerField(default=0, help_text="How often the overdue sweep sent its event again.")
    check_at = models.DateTimeField(null=True, help_text="When the overdue sweep looks at it next.")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    processed_at = models.DateTimeField(null=True)

    class Meta:
        """Every list filter has an index that ends in the id, so that page 10,000 costs what page 1 costs."""

        indexes = [
            models.Index(fields=["client", "-id"], name="txn_list"),
            models.Index(fields=["client", "status", "-id"], name="txn_by_status"),
            models.Index(fields=["client", "account_number", "-id"], name="txn_by_account"),
            models.Index(fields=["client", "currency", "-id"], name="txn_by_currency"),
            models.Index(fields=["client", "updated_at", "id"], name="txn_by_update"),
            models.Index(
                fields=["check_at"], condition=Q(status__in=["pending", "processing"]), name="txn_awaiting_result"
            ),
            # Holds nothing while all goes well, so that the dashboard can always count it.
            models.Index(fields=["id"], condition=Q(overdue=True), name="txn_overdue"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["client", "external_id"],
                condition=Q(external_id__isnull=False),
                name="txn_external_id_once",
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="txn_amount_positive"),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="txn_currency_code"),
            models.CheckConstraint(condition=Q(direction__in=["debit", "credit"]), name="txn_direction_known"),
            models.CheckConstraint(
                condition=Q(status__in=[status.value for status in Status]), name="txn_status_known"
            ),
            models.CheckConstraint(condition=Q(version__gte=1), name="txn_version_positive"),
            # The filter updated_gte counts on it.
            models.CheckConstraint(condition=Q(updated_at__gte=F("created_at")), name="txn_updated_after_created"),
            models.CheckConstraint(
                condition=~Q(status__in=["succeeded", "failed"]) | Q(processed_at__isnull=False),
                name="txn_result_has_time",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class HistoryEntry(models.Model):
    """What happened to a transaction: a change by someone, or a result that arrived. Only ever added to."""

    class Kind(models.TextChoices):
        """`change` has version, status and by; `result` has webhook_id, type, state and door."""

        CHANGE = "change"
        RESULT = "result"

    transaction = models.ForeignKey(Transaction, on_delete=models.CASCADE, related_name="history", db_index=False)
    kind = models.CharField(max_length=6, choices=Kind.choices)
    at = models.DateTimeField()
    version = models.PositiveIntegerField(null=True)
    status = models.CharField(max_length=10, default="")
    by = models.CharField(max_length=8, default="", help_text="client, consumer or operator")
    webhook_id = models.CharField(max_length=255, default="")
    type = models.CharField(max_length=100, default="")
    state = models.CharField(max_length=12, default="")
    door = models.CharField(max_length=7, default="", help_text="webhook or queue")

    class Meta:
        """Read by transaction, oldest first."""

        indexes = [models.Index(fields=["transaction", "id"], name="history_of_transaction")]

    def __str__(self) -> str:
        return f"{self.kind} {self.transaction_id}"

    @classmethod
    def of_change(cls, txn: Transaction, by: str) -> "HistoryEntry":
        """The entry, not yet written, for what `txn` has just become."""
        return cls(
            transaction=txn, kind=cls.Kind.CHANGE, at=txn.updated_at, version=txn.version, status=txn.status, by=by
        )


class IdempotencyKey(models.Model):
    """A client's key with the answer of the request that used it first; written in that request's transaction.

    After IDEMPOTENCY_KEEP_DAYS the answer goes and the row stays as a tombstone: the key never creates a second time.
    """

    client = models.ForeignKey(ApiClient, on_delete=models.CASCADE, db_index=False)
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    transactions = models.JSONField(default=list, help_text="Ids that the request wrote, in its order.")
    status = models.PositiveSmallIntegerField(default=0)
    headers = models.JSONField(default=dict)
    body = models.TextField(null=True)  # noqa: DJ001 - null: the snapshot was pruned
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Unique per client: the index on which a concurrent request with the same key waits."""

        constraints = [models.UniqueConstraint(fields=["client", "key"], name="idempotency_key_once")]
        indexes = [
            models.Index(fields=["created_at"], condition=Q(body__isnull=False), name="idempotency_snapshot_age")
        ]

    def __str__(self) -> str:
        return self.key


def owned_by(client_id: int) -> models.QuerySet[Transaction]:
    """The only way that the API looks transactions up: one client's own."""
    return Transaction.objects.filter(client_id=client_id)
