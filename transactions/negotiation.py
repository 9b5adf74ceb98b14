"""Content negotiation: JSON is all there is; an Accept header that excludes it is 406 (RFC 9110 section 12.5.1)."""

import re

from django.http import HttpRequest

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


def refuse_other_than_json(request: HttpRequest) -> None:
    """Raises ProblemError 406 for a request that takes no JSON: answers are made by the views as bytes of it."""
    if not accepts_json(request.META.get("HTTP_ACCEPT", "")):
        raise ProblemError("not-acceptable")
