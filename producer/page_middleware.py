"""Middleware that only pages in a browser need. A request of a program passes by: it has no session."""

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

# The doors for programs: they authenticate each request by itself (a key, a signature) and answer JSON. The page with
# the API's documentation below it is read-only and for anybody.
API = "/api/v1/"


class _PagesOnly(MiddlewareMixin):
    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Passes an API request on untouched: together these cost a create as much as its validation."""
        if request.path_info.startswith(API):
            return self.get_response(request)  # type: ignore[return-value]
        return super().__call__(request)  # type: ignore[return-value]


# Subclasses, because Django's and the admin's checks look for these classes in MIDDLEWARE.
class PageSessions(_PagesOnly, SessionMiddleware):
    """django.contrib.sessions."""


class PageUsers(_PagesOnly, AuthenticationMiddleware):
    """django.contrib.auth."""


class PageMessages(_PagesOnly, MessageMiddleware):
    """django.contrib.messages."""
