"""Content negotiation: JSON is all there is; an Accept header that excludes it is 406 (RFC 9110 section 12.5.1)."""

import re
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request

from transactions.problems import ProblemError

_ACCEPTABLE = {"*/*", "application/*", "application/json", "application/problem+json"}
_ZERO = re.compile(r"q\s*=\s*0(\.0{0,3})?", re.IGNORECASE)


def accepts_json(accept: str) -> bool:
    """Whether an Accept header allows JSON; an empty one allows everything. The most specific entry decides."""
    if not accept.strip():
        return True
    weights: dict[str, bool] = {}
    for entry in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        if media_type in _ACCEPTABLE:
            weights[media_type] = not any(_ZERO.fullmatch(parameter) for parameter in parameters)
    for media_type in ("application/json", "application/problem+json", "application/*", "*/*"):
        if media_type in weights:
            return weights[media_type]
    return False


class JsonNegotiation(BaseContentNegotiation):
    """Answers are made by the views as bytes; this only refuses."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """There is none: views read the raw body with their own limits."""
        return None

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """The only renderer, or ProblemError 406."""
        if not accepts_json(request.META.get("HTTP_ACCEPT", "")):
            raise ProblemError("not-acceptable")
        return renderers[0], "application/json"
