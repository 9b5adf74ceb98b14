"""What pages and probes share: they are only read; any other method is 405 with Allow (contract section 2)."""

from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from transactions.exceptions import problem_response
from transactions.problems import ProblemError

View = Callable[..., HttpResponse]


def read_only(view: View) -> View:
    """GET and HEAD go to the view. Exempt from CSRF, whose 403 would come before the 405 and names a key nobody needs."""

    @csrf_exempt
    @wraps(view)
    def only(request: HttpRequest, *args: str, **kwargs: str) -> HttpResponse:
        if request.method not in {"GET", "HEAD"}:
            return problem_response(ProblemError("method-not-allowed", headers={"Allow": "GET, HEAD"}), request)
        return view(request, *args, **kwargs)

    return only
