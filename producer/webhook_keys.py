"""The public keys that fallback POSTs are signed with, for Consumers that verify ed25519 (`v1a`)."""

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse, JsonResponse

from producer.methods import read_only
from transactions.exceptions import as_problem, problem_response
from transactions.moments import moment
from webhooks.keys import published

# How long a Consumer may keep the answer (seconds). With what a process remembers (webhooks.keys) it must be shorter than the
# shortest overlap of a rotation: else the old key ends before the Consumer knows the new one, and it answers 401.
MAX_AGE_SECONDS = 30


@read_only
def webhook_keys(request: HttpRequest) -> HttpResponse:
    """GET /.well-known/webhook-keys: keys that are or will be active; shared secrets have nothing to publish."""
    try:
        keys = published()
    except Exception as error:
        # Not an empty list: a Consumer would drop good keys for it.
        problem = as_problem(error)
        if problem is None:
            raise
        return problem_response(problem, request)
    shown = [
        {
            "key_id": key.key_id,
            "public_key": key.public,
            "algorithm": "ed25519",
            "signature_version": "v1a",
            "not_before": _moment(key.not_before),
            "retire_at": _moment(key.retire_at),
        }
        for key in keys
    ]
    return JsonResponse({"keys": shown}, headers={"Cache-Control": f"public, max-age={MAX_AGE_SECONDS}"})


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else moment(datetime.fromtimestamp(seconds, UTC))
