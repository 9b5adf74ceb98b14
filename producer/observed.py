"""What is counted and timed of each request, at the price of microseconds."""

import logging
import re
import time
from contextlib import AbstractContextManager, nullcontext

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from outbox import context, tracing
from producer import instruments

log = logging.getLogger(__name__)

_ID = re.compile(r"/[0-9a-f]{8}-[0-9a-f-]{27}|(?<=results)/[^/]+")
# Asked every few seconds by machines: neither news nor a span.
_PROBES = ("/livez", "/readyz", "/metrics")
_NO_SPAN: AbstractContextManager[None] = nullcontext()
ADMIN_ROUTE = "admin/"


def begin() -> float:
    """Call it first."""
    return time.perf_counter()


def answered(request: HttpRequest, response: HttpResponse, began: float) -> None:
    """Call it last."""
    seconds = time.perf_counter() - began
    if settings.METRICS:
        instruments.request_answered(_route(request), str(request.method), response.status_code, seconds)
    if settings.LOG_EACH and not request.path.startswith(_PROBES):
        names = {"method": request.method, "route": _route(request), "status": response.status_code}
        log.info("request answered", extra={**names, "milliseconds": round(seconds * 1000, 1)})


def span(request: HttpRequest) -> AbstractContextManager[str | None]:
    """Around the view; child of the client's trace when it sent one."""
    if not tracing.ON or request.path.startswith(_PROBES):
        return _NO_SPAN
    parent = context.read_traceparent(request.META.get("HTTP_TRACEPARENT", ""))
    names = {"request_id": str(request.request_id)}  # type: ignore[attr-defined]
    return tracing.tracer.span(f"{request.method} {_known_path(request.path)}", "server", parent, names)


def _known_path(path: str) -> str:
    """A path without its ids."""
    return _ID.sub("/{id}", path)


def _route(request: HttpRequest) -> str:
    """The pattern and not the path: what a client can choose must not become a label."""
    match = request.resolver_match
    if match is None:
        return "none"
    # The admin has hundreds of routes and nobody tunes them one by one. The empty one is what matched nothing else.
    return ADMIN_ROUTE if match.route.startswith(ADMIN_ROUTE) else match.route or "/"
