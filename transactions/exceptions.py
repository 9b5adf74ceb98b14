"""Turns every exception of the API into a problem document; nothing leaves as HTML, a traceback or a bare status."""

import json
import logging
import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.views import set_rollback

from transactions.parsing import MalformedJsonError
from transactions.problems import ProblemError, build

log = logging.getLogger(__name__)

# Seconds after which a client may come back when the database was away or busy.
RETRY_AFTER = "2"
READ_ONLY = "25006"


def request_id_of(request: HttpRequest | None) -> str:
    """The id that RequestIdMiddleware gave the request."""
    return str(getattr(request, "request_id", None) or uuid.uuid4())


def problem_response(error: ProblemError, request: HttpRequest | None) -> HttpResponse:
    """The answer for `error`, with the request's id in it."""
    status, headers, body = build(error, request_id_of(request), settings.PROBLEM_TYPE_BASE)
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    # 404 and 405 may be cached unless we say no (RFC 9111 section 4.2.2); without a length the server sends chunks.
    headers |= {"Cache-Control": "no-store", "Content-Length": str(len(content))}
    return HttpResponse(content, status=status, headers=headers)


def as_problem(error: Exception) -> ProblemError | None:
    """The problem that an exception stands for; None for a defect of ours."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, MalformedJsonError):
        return ProblemError("malformed-json", error.detail)
    if isinstance(error, SuspiciousOperation):
        # Django's word for input that it will not read, such as a thousand parameters.
        return ProblemError("invalid-parameter", "The query string cannot be read: it has too many parameters.")
    # Read-only: a failover left us with the standby for a moment.
    read_only = getattr(error.__cause__, "pgcode", None) == READ_ONLY
    if isinstance(error, OperationalError | InterfaceError) or read_only:
        return ProblemError("service-unavailable", headers={"Retry-After": RETRY_AFTER})
    if isinstance(error, Http404 | exceptions.NotFound):
        return ProblemError("not-found")
    if isinstance(error, PermissionDenied | exceptions.PermissionDenied):
        return ProblemError("forbidden")
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return ProblemError("unauthorized")
    if isinstance(error, exceptions.NotAcceptable):
        return ProblemError("not-acceptable")
    if isinstance(error, exceptions.UnsupportedMediaType):
        return ProblemError("unsupported-media-type")
    return None


def problem_handler(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """DRF's EXCEPTION_HANDLER."""
    request = context["request"]._request if context.get("request") is not None else None
    set_rollback()
    if isinstance(error, exceptions.MethodNotAllowed):
        allow = ", ".join(context["view"].allowed_methods)
        return problem_response(ProblemError("method-not-allowed", headers={"Allow": allow}), request)
    problem = as_problem(error)
    if isinstance(error, DatabaseError | InterfaceError) and problem is not None:
        log.warning("database away or busy", extra={"error": type(error).__name__})
        if not connection.in_atomic_block:
            # A connection that the server dropped must not meet the next request.
            connection.close()
    if problem is None:
        log.exception("unhandled error", extra={"request_id": request_id_of(request)})
        problem = ProblemError("internal-error")
    return problem_response(problem, request)
