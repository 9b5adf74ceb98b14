"""A transaction and an outbox row, with the indexes that a list and a relay need."""

import uuid

from django.db import models
from django.db.models import Q


class Transaction(models.Model):  # noqa: DJ008
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user_id = models.BigIntegerField()
    external_id = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001
    account_number = models.CharField(max_length=34)
    amount = models.DecimalField(max_digits=19, decimal_places=4)
    currency = models.CharField(max_length=3)
    direction = models.CharField(max_length=6)
    transaction_date = models.DateTimeField()
    description = models.CharField(max_length=255, default="", blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    status = models.CharField(max_length=10, default="pending")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [models.Index(fields=["user_id", "-created_at"]), models.Index(fields=["user_id", "status"])]


class Outbox(models.Model):  # noqa: DJ008
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    topic = models.CharField(max_length=64)
    payload = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["created_at"], condition=Q(published_at=None), name="waiting")]


class Delivery(models.Model):  # noqa: DJ008
    """One received webhook, as barely as can be: an id that is unique, and its bytes."""

    webhook_id = models.CharField(max_length=255, unique=True)
    body = models.BinaryField()
    received_at = models.DateTimeField(auto_now_add=True)
