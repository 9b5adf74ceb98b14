"""The web pages: submit transactions to the Producer, watch what becomes of them, follow one on its way."""

import json
import logging
import re
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_http_methods, require_safe

from processing import courier, producer_api, timeline
from processing.models import Event, Result

log = logging.getLogger("consumer.pages")

LIST_LENGTH = 25
# Rows of ours that one timeline shows; a transaction with more is beyond what a person reads.
TIMELINE_ROWS = 100
# What the form sends; an empty optional field is left out, so that the Producer's defaults apply.
FIELDS = ("account_number", "amount", "currency", "direction", "description", "external_id")
_KEY = re.compile(r"[A-Za-z0-9-]{16,64}")
NO_KEY = "PRODUCER_API_KEY is not set: make a key with the Producer's `manage.py create_api_client NAME`."
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"  # noqa: E501 - one header


@ensure_csrf_cookie
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    courier.ensure_started()
    has_key = bool(settings.PRODUCER_API_KEY)
    return _html(request, "processing/page.html", {"has_key": has_key, "idempotency_key": uuid4()})


@require_safe
def transaction_page(request: HttpRequest, transaction_id: UUID) -> HttpResponse:
    return _html(request, "processing/transaction.html", {"transaction_id": transaction_id})


def _html(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    response = render(request, template, {"producer_url": settings.PRODUCER_URL, **context})
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response["Cache-Control"] = "no-store"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def transactions(request: HttpRequest) -> JsonResponse:
    """The page's own endpoint: GET lists, POST submits; the Producer's answer and status are passed on."""
    if not settings.PRODUCER_API_KEY:
        return _problem(503, NO_KEY)
    try:
        return _submit(request) if request.method == "POST" else _list()
    except producer_api.ProducerAwayError as error:
        return _problem(502, str(error))


@require_safe
def transaction(request: HttpRequest, transaction_id: UUID) -> JsonResponse:
    """One transaction and its way. When one of the two sides does not answer, the other's part, and a note that says so."""
    shown, history, note = _of_producer(transaction_id)
    notes = [note] if note else []
    events: list[Event] = []
    results: list[Result] = []
    try:
        ours = {"transaction_id": str(transaction_id)}
        events = list(Event.objects.filter(**ours).order_by("id")[:TIMELINE_ROWS])
        results = list(Result.objects.filter(**ours).order_by("id")[:TIMELINE_ROWS])
    except DatabaseError as error:
        log.warning("timeline without our part: the database does not answer (%s)", type(error).__name__)
        connection.close()
        notes.append("The Consumer's database does not answer: its part is missing.")
    if shown is None and not events:
        return _problem(502 if notes else 404, " ".join(notes) or "Neither the Producer nor the Consumer knows it.")
    if shown is None and not note:
        notes.append("The Producer does not show it to this page's API key: only the Consumer's part is here.")
    entries = [asdict(entry) for entry in timeline.build(history, events, results)]
    return _fresh(JsonResponse({"transaction": shown, "entries": entries, "notes": notes}))


def _of_producer(transaction_id: UUID) -> tuple[dict[str, Any] | None, list[Any], str]:
    """The transaction, its history, and what to tell the reader when they are not to be had."""
    if not settings.PRODUCER_API_KEY:
        return None, [], NO_KEY
    try:
        found = producer_api.one(transaction_id)
        if found.status == 404:
            return None, [], ""
        told = producer_api.history(transaction_id)
    except producer_api.ProducerAwayError as error:
        return None, [], str(error)
    for reply in (found, told):
        if reply.status != 200 or not isinstance(reply.body, dict):
            detail = reply.body.get("detail", "") if isinstance(reply.body, dict) else ""
            return None, [], f"The Producer answered {reply.status}. {detail}".rstrip()
    history = told.body.get("data")
    return found.body, history if isinstance(history, list) else [], ""


def _list() -> JsonResponse:
    reply = producer_api.latest(LIST_LENGTH)
    return _fresh(JsonResponse(reply.body, status=reply.status, safe=False))


def _fresh(response: JsonResponse) -> JsonResponse:
    response["Cache-Control"] = "no-store"
    return response


def _submit(request: HttpRequest) -> JsonResponse:
    """The key comes with the form, so that a second click or a repeat after a time-out is the same submission."""
    try:
        form = json.loads(request.body)
    except (ValueError, RecursionError):
        form = None
    if not isinstance(form, dict):
        return _problem(400, "The form is not a JSON object.")
    key = form.get("idempotency_key")
    key = key if isinstance(key, str) and _KEY.fullmatch(key) else str(uuid4())
    reply = producer_api.submit({name: form[name] for name in FIELDS if form.get(name) not in (None, "")}, key)
    if not isinstance(reply.body, dict):
        return _problem(502, "The Producer's answer is not an object.")
    # After a clear answer the next submission is another one. After an unclear one it is the same, so it keeps its key.
    clear = reply.status < 500 and reply.status != 409
    return JsonResponse({**reply.body, "next_idempotency_key": str(uuid4()) if clear else key}, status=reply.status)


def _problem(status: int, detail: str) -> JsonResponse:
    return JsonResponse(
        {"type": "about:blank", "status": status, "detail": detail},
        status=status,
        content_type="application/problem+json",
    )
