"""Django's own error pages as problem documents: 400, 403, 404, 500, CSRF."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from transactions.exceptions import problem_response
from transactions.problems import ProblemError


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """handler400: a bad Host header, too many fields."""
    return problem_response(ProblemError("invalid-parameter", "The request cannot be read."), request)


def forbidden(request: HttpRequest, exception: Exception | None = None, reason: Any = "") -> HttpResponse:
    """handler403, and Django's CSRF failure view."""
    return problem_response(ProblemError("forbidden"), request)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """handler404."""
    return problem_response(ProblemError("not-found"), request)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500."""
    return problem_response(ProblemError("internal-error"), request)
