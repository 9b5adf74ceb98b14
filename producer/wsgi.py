"""The WSGI entry point of the web processes: one handler for programs, one for pages in a browser."""

import os
from collections.abc import Iterable
from typing import Any

import django
from django.conf import settings
from django.core import signals
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import close_old_connections, reset_queries
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "producer.settings")

# The doors for programs: they authenticate each request by itself (a key, a signature) and answer JSON. The page with
# the API's documentation below it is read-only and for anybody.
API = "/api/v1/"


class Request(WSGIRequest):
    """Django's, but for the parameters of `Content-Type`: everything here is UTF-8, whatever they say.

    Django reads them before any middleware, and one that Python cannot read ends outside of all handling of errors.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        self.content_type = str(meta.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()
        self.content_params = {}


class Handler(WSGIHandler):
    """Django's, for our requests."""

    request_class = Request

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """HEAD ends here: the views answer it as they do GET, and Gunicorn warns of each body that it has to drop."""
        response = super().get_response(request)
        if request.method == "HEAD" and isinstance(response, HttpResponse) and response.content:
            response.headers.setdefault("Content-Length", str(len(response.content)))
            response.content = b""
        return response


class ApiHandler(Handler):
    """Runs a request through API_MIDDLEWARE instead of MIDDLEWARE: what only pages need costs a create a tenth of its time."""

    def load_middleware(self, is_async: bool = False) -> None:
        """Django's own, from the other list. It has no parameter for it."""
        of_pages = settings.MIDDLEWARE
        settings.MIDDLEWARE = settings.API_MIDDLEWARE
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = of_pages


# Django looks for connections that are too old before a request and after it: after it is enough, and a fortieth of a create
# is saved. The log of queries, which DEBUG keeps, is bounded by itself.
signals.request_started.disconnect(close_old_connections)
signals.request_started.disconnect(reset_queries)

django.setup(set_prefix=False)
_pages = Handler()
_api = ApiHandler()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """By path."""
    handler = _api if str(environ.get("PATH_INFO", "")).startswith(API) else _pages
    return handler(environ, start_response)
