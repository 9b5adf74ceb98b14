"""The admin site: unfold's theme under our name, and the dashboard as its landing page."""

import logging
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from producer import dashboard
from producer.guarded_site import GuardedSite
from producer.snapshot import Snapshot

log = logging.getLogger(__name__)

# Who may see the ledgers may see their sums and reasons.
MAY_SEE = ("transactions.view_transaction", "outbox.view_outboxmessage", "webhooks.view_inboxmessage")


class OperatorsSite(GuardedSite):
    """Where operators see what is stuck, and put it right."""

    index_title = "Overview"
    index_template = "producer/dashboard.html"
    enable_nav_sidebar = True

    def extra_urls(self) -> list[URLPattern]:
        """Unfold's own hook: what the page asks for again and again."""
        return [
            path("dashboard/now", self.admin_view(self.dashboard_now), name="dashboard-now"),
            path("dashboard/window/<int:minutes>", self.admin_view(self.dashboard_window), name="dashboard-window"),
        ]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The page asks nothing of the ledgers itself: it opens while they are slow, and says so."""
        shown = {"may_see": _may_see(request), "windows": dashboard.WINDOWS, **(extra_context or {})}
        answer: TemplateResponse = super().index(request, shown)
        return answer

    def dashboard_now(self, request: HttpRequest) -> JsonResponse:
        """The lights."""
        return _answer(request, dashboard.now)

    def dashboard_window(self, request: HttpRequest, minutes: int) -> JsonResponse:
        """Traffic, latency and reasons of the last `minutes`."""
        return _answer(request, dashboard.windows.get(str(minutes)))


def _may_see(request: HttpRequest) -> bool:
    user: Any = request.user
    return bool(user.has_perms(MAY_SEE))


def _answer(request: HttpRequest, snapshot: Snapshot[dict[str, Any]] | None) -> JsonResponse:
    """Never a 500: what cannot be read now is said, and the page asks again."""
    if not _may_see(request):
        return JsonResponse({"detail": "You may not see the ledgers."}, status=403)
    if snapshot is None:
        return JsonResponse({"detail": "There is no such window."}, status=404)
    try:
        return JsonResponse(snapshot.get(), headers={"Cache-Control": "no-store"})
    except (DatabaseError, InterfaceError) as error:
        log.warning("dashboard not read", extra={"reason": type(error).__name__})
        return JsonResponse(
            {"detail": "The database is away or too slow to answer. Transactions that got a 2xx are safe in it."},
            status=503,
        )
