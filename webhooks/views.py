"""The HTTP door for results: verify, store, answer; never applies (contract section 4)."""

import logging
import time
from functools import cache
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt

from transactions.bodies import read_bytes, read_json_bytes
from transactions.exceptions import as_problem, problem_response
from transactions.moments import moment
from transactions.problems import ProblemError
from transactions.serializers import dumps
from webhooks import receiving, refusals
from webhooks.inbox import WebhookIdReusedError
from webhooks.models import InboxMessage
from webhooks.rate import TokenBucket
from webhooks.signing import Reason, SignatureError, Verified

log = logging.getLogger(__name__)

_bucket = TokenBucket(settings.WEBHOOK_RATE_PER_SECOND, settings.WEBHOOK_RATE_BURST)
_TIME_REASONS = {Reason.TIMESTAMP_MALFORMED, Reason.TIMESTAMP_OUTSIDE}


@csrf_exempt
def receive_result(request: HttpRequest) -> HttpResponse:
    """POST /api/v1/webhooks/results."""
    try:
        if request.method != "POST":
            raise ProblemError("method-not-allowed", headers={"Allow": "POST"})
        body = read_json_bytes(request, settings.MAX_WEBHOOK_BODY_BYTES)
        verified = _verify(request, body)
        wait = _bucket.take()
        if wait:
            raise ProblemError("rate-limited", headers={"Retry-After": str(wait)})
        received = receiving.receive(verified, body, door="webhook")
    except WebhookIdReusedError as error:
        log.error("webhook-id reused", extra={"webhook_id": str(error), "door": "webhook"})
        return problem_response(ProblemError("webhook-id-reused"), request)
    except Exception as error:
        return _problem(error, request)
    if not received.new:
        return _answer(200, {"status": received.status}, request)
    if received.status == "quarantined":
        return _answer(202, {"status": "quarantined", "problem": {"detail": received.problem}}, request)
    return _answer(202, {"status": "accepted", "receipt": _receipts() + quote(received.webhook_id, safe="")}, request)


@cache
def _receipts() -> str:
    """PUBLIC_URL and not the Host header: a proxy may have changed that."""
    return f"{settings.PUBLIC_URL}{reverse('results')}/"


@csrf_exempt
def receipt(request: HttpRequest, webhook_id: str) -> HttpResponse:
    """GET /api/v1/webhooks/results/{webhook-id}: what became of a delivery; signed like one, with an empty body."""
    try:
        if request.method not in {"GET", "HEAD"}:
            raise ProblemError("method-not-allowed", headers={"Allow": "GET, HEAD"})
        verified = _verify(request, read_bytes(request, 0))
        if verified.webhook_id != webhook_id:
            raise ProblemError("webhook-signature-invalid", "The signed webhook-id is not the one that is asked for.")
        row = InboxMessage.objects.defer("body").filter(webhook_id=webhook_id).first()
        if row is None:
            raise ProblemError("not-found")
    except Exception as error:
        return _problem(error, request)
    return _answer(
        200,
        {
            "webhook_id": row.webhook_id,
            "status": row.state,
            "reason": row.reason or None,
            "deliveries": row.deliveries,
            "received_at": moment(row.received_at),
            "applied_at": moment(row.applied_at),
        },
        request,
    )


def _verify(request: HttpRequest, body: bytes) -> Verified:
    try:
        return receiving.check(request.headers, body, now=time.time())
    except SignatureError as error:
        log.warning("result refused", extra={"reason": error.reason.value, "door": "webhook"})
        refusals.note(error.reason.value, "webhook")
        slug = "webhook-timestamp-invalid" if error.reason in _TIME_REASONS else "webhook-signature-invalid"
        raise ProblemError(slug) from None


def _answer(status: int, body: dict[str, object], request: HttpRequest) -> HttpResponse:
    content = dumps(body).encode()
    # Without a length the server sends chunks.
    headers = {"Content-Length": str(len(content)), "Cache-Control": "no-store"}
    return HttpResponse(content, status=status, headers=headers, content_type="application/json")


def _problem(error: Exception, request: HttpRequest) -> HttpResponse:
    problem = as_problem(error)
    if problem is None:
        log.exception("unhandled error")
        problem = ProblemError("internal-error")
    return problem_response(problem, request)
