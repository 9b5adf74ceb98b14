"""Gives each request its id; no exception leaves as HTML: problem documents everywhere but in the admin."""

import logging
import random
import uuid
from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse

from outbox import context
from producer import errors, observed
from producer.operator_page import ADMIN
from transactions.exceptions import as_problem, problem_response
from transactions.problems import ProblemError

log = logging.getLogger(__name__)

# Nothing from outside, nothing in line but styles: the theme writes its colours into the page. Alpine, on which the theme
# is built, compiles the expressions of its own templates: hence unsafe-eval, here and nowhere else.
ADMIN_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class RequestIdMiddleware:
    """`X-Request-ID` on every answer; the same id stands in problem documents and logs."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Always a new id: one that the client chose could repeat. A bad Host header ends here."""
        began = observed.begin()
        # No secret, so Python's own randomness will do, which asks the system once for many: a call that lets other threads
        # of the process run first.
        request_id = str(uuid.UUID(int=random.getrandbits(128), version=4))
        request.request_id = request_id  # type: ignore[attr-defined]
        context.start(request_id=request_id)
        try:
            request.get_host()
        except DisallowedHost:
            return problem_response(
                ProblemError("invalid-parameter", "The Host header names no host of ours."), request
            )
        with observed.span(request):
            response = self.get_response(request)
        response.headers.setdefault("X-Request-ID", request_id)
        if request.path.startswith(ADMIN):
            response.headers["Content-Security-Policy"] = ADMIN_CONTENT_SECURITY_POLICY
        observed.answered(request, response, began)
        # The thread serves somebody else next.
        context.start()
        return response


class ProblemMiddleware:
    """What a plain view raises becomes a problem document; in the admin only what is the database's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Passes on."""
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """None leaves the exception to Django's own handling."""
        if request.path.startswith(ADMIN) and not isinstance(error, OperationalError | InterfaceError):
            return None
        problem = as_problem(error)
        if problem is None:
            log.exception("unhandled error", extra={"request_id": request.request_id})  # type: ignore[attr-defined]
            problem = ProblemError("internal-error")
        return errors.answer(problem, request)
