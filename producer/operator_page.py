"""What went wrong, as a plain page for an operator's browser. Programs get problem documents, as everywhere else."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from transactions.exceptions import request_id_of
from transactions.problems import ProblemError

# All pages for operators stand below it.
ADMIN = "/admin/"
# Problem type → what it means to a person at the admin, and what to do. Whatever else happens there is a defect.
WORDS = {
    "service-unavailable": (
        "The database does not answer",
        "The admin reads everything from PostgreSQL, and PostgreSQL is down, cut off or too busy. Whatever got a 2xx is "
        "safe in it; the API answers 503 meanwhile, and clients repeat.",
        "Start PostgreSQL or mend the way to it (docs/operations.md, DatabaseAway). Every process comes back by itself.",
    ),
    "not-found": (
        "There is no such page",
        "The address is misspelt, or what it named has been deleted.",
        "Go back to the overview and search for the id there.",
    ),
    "forbidden": (
        "You may not do this",
        "Your role does not allow it, or the page was open for so long that its form has run out.",
        "Go back, reload the page and try once more. Roles are given by whoever manages the users.",
    ),
    "invalid-parameter": (
        "The request cannot be read",
        "The address holds something that no page of ours asks for.",
        "Go back to the overview.",
    ),
}
_DEFECT = (
    "Something broke that should not",
    "This is a defect of the Producer App and not yours. Nothing was half done: each change is one database transaction.",
    "Look for “unhandled error” or a traceback in the log of web, by the request id below, and report it.",
)


def is_for(request: HttpRequest) -> bool:
    """A browser at a page of the admin. The dashboard's own refreshes ask for JSON."""
    return request.path.startswith(ADMIN) and "text/html" in request.headers.get("Accept", "")


def response(error: ProblemError, request: HttpRequest) -> HttpResponse:
    """Same status and headers as the problem document. Asks no database: it may be what is away."""
    title, meaning, remedy = WORDS.get(error.slug, _DEFECT)
    shown: dict[str, Any] = {
        **{"title": title, "meaning": meaning, "remedy": remedy, "request_id": request_id_of(request)},
        # What is only away comes back by itself; a form that was sent must not be sent again by itself.
        "again": error.headers.get("Retry-After") if request.method == "GET" else None,
    }
    page = render_to_string("producer/operator_page.html", shown)
    headers = {**error.headers, "Cache-Control": "no-store"}
    return HttpResponse(page, status=error.problem.status, headers=headers)
