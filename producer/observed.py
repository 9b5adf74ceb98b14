"""What is counted and timed of each request, at the price of microseconds."""

import time

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from producer import instruments

ADMIN_ROUTE = "admin/"


def begin() -> float:
    """Call it first."""
    return time.perf_counter()


def answered(request: HttpRequest, response: HttpResponse, began: float) -> None:
    """Call it last."""
    if settings.METRICS:
        seconds = time.perf_counter() - began
        instruments.request_answered(_route(request), str(request.method), response.status_code, seconds)


def _route(request: HttpRequest) -> str:
    """The pattern and not the path: what a client can choose must not become a label."""
    match = request.resolver_match
    if match is None:
        return "none"
    # The admin has hundreds of routes and nobody tunes them one by one. The empty one is what matched nothing else.
    return ADMIN_ROUTE if match.route.startswith(ADMIN_ROUTE) else match.route or "/"
