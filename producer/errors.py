"""Django's own error pages: problem documents for programs, plain pages for operators: 400, 403, 404, 500, CSRF."""

import sys
from typing import Any

from django.http import HttpRequest, HttpResponse

from producer import operator_page
from transactions.exceptions import as_problem, problem_response
from transactions.problems import ProblemError


def answer(problem: ProblemError, request: HttpRequest) -> HttpResponse:
    """For whoever asked. Outside the admin nobody ever gets HTML for an error."""
    return (operator_page.response if operator_page.is_for(request) else problem_response)(problem, request)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """handler400: a bad Host header, too many fields."""
    return answer(ProblemError("invalid-parameter", "The request cannot be read."), request)


def forbidden(request: HttpRequest, exception: Exception | None = None, reason: Any = "") -> HttpResponse:
    """handler403, and Django's CSRF failure view."""
    return answer(ProblemError("forbidden"), request)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """handler404."""
    return answer(ProblemError("not-found"), request)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500: also what a middleware met, such as a database that went while the session was written."""
    error = sys.exception()
    problem = as_problem(error) if isinstance(error, Exception) else None
    return answer(problem or ProblemError("internal-error"), request)
