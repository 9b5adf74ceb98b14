"""The fallback door: POST /webhooks/events, over raw bytes. Checks from cheap to dear; never a 5xx for bad input."""

import logging
import time

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from processing import courier, intake, signing

log = logging.getLogger("consumer.fallback")

MEDIA_TYPE = "application/cloudevents+json"
# Seconds that the Producer should wait when our database is away.
RETRY_AFTER_SECONDS = 5


@csrf_exempt
def receive(request: HttpRequest) -> HttpResponse:
    """202 for a new event, 200 for a copy; stored before the answer, processed after it without the broker."""
    refusal = _refuse_unread(request)
    if refusal is not None:
        return refusal
    try:
        body = request.body
    except UnreadablePostError:
        return _problem(400, "The body ended early.")
    try:
        webhook_id = signing.verify(
            settings.FALLBACK_KEYS,
            request.headers.get("webhook-id"),
            request.headers.get("webhook-timestamp"),
            request.headers.get("webhook-signature"),
            body,
            time.time(),
        )
    except signing.SignatureError as error:
        log.warning("fallback POST refused: %s", error)
        response = _problem(401, "The signature does not hold.")
        response["WWW-Authenticate"] = 'StandardWebhooks realm="events"'
        return response
    try:
        stored = intake.store(webhook_id, body)
    except DatabaseError as error:
        log.error("event %s not stored: %s", webhook_id, type(error).__name__)
        response = _problem(503, "The database does not answer.")
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response
    log.info("event %s by webhook: %s%s", webhook_id, stored.state, "" if stored.new else " (duplicate)")
    courier.wake()
    answer = {"status": "accepted" if stored.new and not stored.problem else stored.state}
    if stored.problem:
        answer["problem"] = stored.problem
    return JsonResponse(answer, status=202 if stored.new else 200)


def _refuse_unread(request: HttpRequest) -> HttpResponse | None:
    """What can be said before a byte of the body is read."""
    if request.method != "POST":
        response = _problem(405, "Only POST.")
        response["Allow"] = "POST"
        return response
    length = request.META.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdigit()):
        return _problem(411, "Content-Length is required.")
    if len(length) > 9 or int(length) > settings.MAX_FALLBACK_BODY_BYTES:
        return _problem(413, f"At most {settings.MAX_FALLBACK_BODY_BYTES} bytes.")
    charset = request.content_params.get("charset", "utf-8") if request.content_params else "utf-8"
    if request.content_type != MEDIA_TYPE or charset.lower() not in ("utf-8", "utf8"):
        return _problem(415, f"Content-Type must be {MEDIA_TYPE}.")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        return _problem(415, "Content-Encoding is not supported.")
    return None


def _problem(status: int, detail: str) -> JsonResponse:
    return JsonResponse(
        {"type": "about:blank", "status": status, "detail": detail},
        status=status,
        content_type="application/problem+json",
    )
