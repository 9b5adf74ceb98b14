"""The web page: submit a transaction to the Producer, watch what becomes of it."""

import json
import re
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_http_methods, require_safe

from processing import courier, producer_api

LIST_LENGTH = 25
# What the form sends; an empty optional field is left out, so that the Producer's defaults apply.
FIELDS = ("account_number", "amount", "currency", "direction", "description", "external_id")
_KEY = re.compile(r"[A-Za-z0-9-]{16,64}")
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"  # noqa: E501 - one header


@ensure_csrf_cookie
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    courier.ensure_started()
    response = render(
        request,
        "processing/page.html",
        {
            "producer_url": settings.PRODUCER_URL,
            "has_key": bool(settings.PRODUCER_API_KEY),
            "idempotency_key": uuid4(),
        },
    )
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response["Cache-Control"] = "no-store"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def transactions(request: HttpRequest) -> JsonResponse:
    """The page's own endpoint: GET lists, POST submits; the Producer's answer and status are passed on."""
    if not settings.PRODUCER_API_KEY:
        return _problem(
            503, "PRODUCER_API_KEY is not set: make a key with the Producer's `manage.py create_api_client NAME`."
        )
    try:
        return _submit(request) if request.method == "POST" else _list()
    except producer_api.ProducerAwayError as error:
        return _problem(502, str(error))


def _list() -> JsonResponse:
    reply = producer_api.latest(LIST_LENGTH)
    response = JsonResponse(reply.body, status=reply.status, safe=False)
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
