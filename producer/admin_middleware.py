"""What only the admin needs of a request: the second factor that a person showed, and the lock-out after wrong passwords."""

import ipaddress
from collections.abc import Callable

from axes.middleware import AxesMiddleware
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django_otp.middleware import OTPMiddleware

from producer.operator_page import ADMIN


class AdminMiddleware:
    """Both packages' middlewares for the admin alone: the API has neither users nor passwords, and pays nothing for them."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.plain = get_response
        self.guarded: Callable[[HttpRequest], HttpResponse] = OTPMiddleware(AxesMiddleware(get_response))

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """By path."""
        return (self.guarded if request.path.startswith(ADMIN) else self.plain)(request)


def client_address(request: HttpRequest) -> str:
    """Whose wrong passwords are counted.

    Behind the proxy the last entry of X-Forwarded-For, which the proxy itself wrote; everything before it the client may
    have invented to look like somebody new with each try. Without a proxy the header counts for nothing.
    """
    direct = str(request.META.get("REMOTE_ADDR", ""))
    if not settings.BEHIND_TLS_PROXY:
        return direct
    last = str(request.META.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(last))
    except ValueError:
        return direct
