"""How the admin looks and what stands in its sidebar. Data for the setting UNFOLD; everything is served from here."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy

# The teal of the product's icon, in steps; 600 on white and 500 on black both pass WCAG AA for text.
PRIMARY = {
    "50": "oklch(97.5% .012 190)",
    "100": "oklch(94.5% .03 190)",
    "200": "oklch(89% .055 190)",
    "300": "oklch(81% .08 190)",
    "400": "oklch(74% .095 190)",
    "500": "oklch(66% .095 190)",
    "600": "oklch(50% .08 190)",
    "700": "oklch(44% .07 190)",
    "800": "oklch(37% .058 190)",
    "900": "oklch(31% .045 190)",
    "950": "oklch(23% .035 190)",
}


def _may_see(app: str, model: str) -> Callable[[HttpRequest], bool]:
    def may_see(request: HttpRequest) -> bool:
        user: Any = request.user
        return bool(user.has_perm(f"{app}.view_{model}"))

    return may_see


def _page(title: str, icon: str, app: str, model: str) -> dict[str, Any]:
    link = reverse_lazy(f"admin:{app}_{model}_changelist")
    return {"title": title, "icon": icon, "link": link, "permission": _may_see(app, model)}


SIDEBAR = [
    {"items": [{"title": "Overview", "icon": "dashboard", "link": reverse_lazy("admin:index")}]},
    {
        "title": "Transactions",
        "separator": True,
        "items": [
            _page("Transactions", "receipt_long", "transactions", "transaction"),
            _page("History", "history", "transactions", "historyentry"),
            _page("Idempotency keys", "content_copy", "transactions", "idempotencykey"),
        ],
    },
    {
        "title": "Messages",
        "separator": True,
        "items": [
            _page("Outbox", "outbox", "outbox", "outboxmessage"),
            _page("Channels", "alt_route", "outbox", "channelstate"),
            _page("Inbox", "inbox", "webhooks", "inboxmessage"),
            _page("Reused webhook ids", "report", "webhooks", "reusedwebhookid"),
        ],
    },
    {
        "title": "Tasks",
        "separator": True,
        "items": [
            _page("Task results", "task_alt", "django_celery_results", "taskresult"),
            _page("Schedules", "schedule", "django_celery_beat", "periodictask"),
        ],
    },
    {
        "title": "Access",
        "separator": True,
        "items": [
            _page("API clients", "groups", "transactions", "apiclient"),
            _page("API keys", "key", "transactions", "apikey"),
            _page("Webhook keys", "vpn_key", "webhooks", "webhookkey"),
            _page("Users", "person", "auth", "user"),
            _page("Roles", "badge", "auth", "group"),
            _page("Audit log", "fact_check", "admin", "logentry"),
            _page("Log-ins", "login", "axes", "accesslog"),
            _page("Failed log-ins", "lock", "axes", "accessattempt"),
        ],
    },
]


def _icon(_: HttpRequest) -> str:
    # Not before a request: the manifest of static files is read from disk.
    return static("producer/icon.svg")


def _styles(_: HttpRequest) -> str:
    return static("outbox/ledger.css")


UNFOLD = {
    "SITE_TITLE": "Producer",
    "SITE_HEADER": "Producer",
    "SITE_SUBHEADER": "Transactions and their events",
    "SITE_ICON": _icon,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _icon}],
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "6px",
    "STYLES": [_styles],
    "COLORS": {"primary": PRIMARY},
    "COMMAND": {"search_models": False, "show_history": False},
    "ACCOUNT": {
        "navigation": [
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
            {"title": "Second factor", "link": reverse_lazy("admin:second-factor")},
        ]
    },
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": SIDEBAR},
}
