"""The two rivals: a DRF ModelSerializer view, and a bare Django view that writes both rows with one SQL statement."""

import json
import uuid

from django.db import connection, transaction
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.generics import CreateAPIView
from rest_framework.serializers import ModelSerializer

from rivals.models import Outbox, Transaction


class TransactionSerializer(ModelSerializer):
    class Meta:
        model = Transaction
        fields = [
            "id", "external_id", "account_number", "amount", "currency", "direction", "transaction_date",
            "description", "metadata", "status", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = ["id", "status", "created_at", "updated_at"]


class ByHand(CreateAPIView):
    """What one would write by hand: token, serializer, ORM, both rows in one atomic block."""

    queryset = Transaction.objects.all()
    serializer_class = TransactionSerializer

    def perform_create(self, serializer):
        with transaction.atomic():
            txn = serializer.save(user_id=self.request.user.id)
            payload = {"type": "transaction.created", "data": TransactionSerializer(txn).data}
            Outbox.objects.create(topic="transactions", payload=json.loads(json.dumps(payload, default=str)))


INSERT = """
    WITH txn AS (
        INSERT INTO rivals_transaction (id, user_id, external_id, account_number, amount, currency, direction,
            transaction_date, description, metadata, status, created_at, updated_at)
        VALUES (%s, 1, %s, %s, %s, %s, %s, %s, %s, %s, 'pending', now(), now()) RETURNING id
    )
    INSERT INTO rivals_outbox (id, topic, payload, created_at) SELECT %s, 'transactions', %s, now() FROM txn
"""


@csrf_exempt
def floor(request):
    """The least that Django can do: no authentication, no validation, one statement in autocommit."""
    body = json.loads(request.body)
    txn_id = str(uuid.uuid4())
    with connection.cursor() as cursor:
        cursor.execute(
            INSERT,
            [
                txn_id, body.get("external_id"), body["account_number"], body["amount"], body["currency"],
                body["direction"], body["transaction_date"], body.get("description", ""),
                json.dumps(body.get("metadata", {})), str(uuid.uuid4()), json.dumps({"id": txn_id, **body}),
            ],
        )  # fmt: skip
    response = JsonResponse({"id": txn_id, **body, "status": "pending"}, status=201)
    response["Content-Length"] = str(len(response.content))
    return response


@csrf_exempt
def delivery(request):
    """A webhook receiver that proves nothing, checks nothing and knows no repeats: one row, inserted in autocommit."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rivals_delivery (webhook_id, body, received_at) VALUES (%s, %s, now())",
            [request.headers["webhook-id"], request.body],
        )
    response = JsonResponse({"status": "accepted"}, status=202)
    response["Content-Length"] = str(len(response.content))
    return response
