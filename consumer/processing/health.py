"""Two questions of a supervisor: does the process answer, and can it do its work."""

import logging

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count
from django.http import HttpRequest, JsonResponse

from processing import courier
from processing.models import Event, Result

log = logging.getLogger("consumer.health")


def livez(request: HttpRequest) -> JsonResponse:
    """The process answers; nothing else is asked."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when events can be stored and results signed. The broker is not asked: the fallback door works without it."""
    courier.ensure_started()
    checks: dict[str, object] = {
        "result_secret": "ok" if settings.RESULT_SIGNING_KEYS else "RESULT_WEBHOOK_SECRET is not set",
        "fallback_secret": "ok" if settings.FALLBACK_KEYS else "CONSUMER_WEBHOOK_SECRETS is not set",
    }
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
        checks["migrations"] = f"{len(waiting)} to apply: run manage.py migrate" if waiting else "ok"
        backlog = {} if waiting else _backlog()
    except DatabaseError as error:
        log.warning("not ready: the database does not answer (%s)", type(error).__name__)
        connection.close()
        checks["database"], backlog = "does not answer", {}
    else:
        checks["database"] = "ok"
    ready = all(answer == "ok" for answer in checks.values())
    return JsonResponse(
        {"status": "ok" if ready else "unavailable", "checks": checks, **backlog}, status=200 if ready else 503
    )


def _backlog() -> dict[str, object]:
    return {
        "events": dict(Event.objects.values_list("state").annotate(count=Count("id")).order_by("state")),
        "results": dict(Result.objects.values_list("state").annotate(count=Count("id")).order_by("state")),
    }
