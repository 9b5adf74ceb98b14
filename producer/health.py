"""/livez: the process answers. /readyz: database, migrations, broker, oldest waiting event and result; and what else is wrong."""

from collections.abc import Callable

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

from outbox.stats import outbox_stats, states
from producer import condition
from producer.addresses import first_that_answers
from producer.methods import read_only
from webhooks.stats import inbox_stats

# A probe must answer before its caller gives up (seconds, for each address).
BROKER_PROBE_SECONDS = 1.0


class NotReadyError(Exception):
    """Why a check fails; shown to operators."""


@read_only
def livez(request: HttpRequest) -> HttpResponse:
    """200 while the process can answer at all."""
    return JsonResponse({"status": "ok"})


@read_only
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when every check passes, else 503 with the reasons."""
    checks: dict[str, str] = {}
    for name, check in CHECKS.items():
        # A database that is away is not asked again: each time would cost the prober another time-out.
        away = checks.get("database", "ok") != "ok"
        try:
            checks[name] = (WITHOUT_DATABASE.get(name, _unknown) if away else check)() or "ok"
        except NotReadyError as error:
            checks[name] = f"failed: {error}"
        except Exception as error:
            checks[name] = f"failed: {type(error).__name__}"
    ready = not any(state.startswith("failed") for state in checks.values())
    # These turn nothing red: a web process without a beat is still a good address for requests, and a restart of it
    # would mend nothing.
    if checks["database"] == "ok":
        lights = condition.current()
    else:
        lights = [condition.database_away(checks["database"])]
        condition.turned.look(lights)
    warnings = {light.id: f"{light.title}: {light.value}. {light.meaning}" for light in lights if light.level != "ok"}
    return JsonResponse(
        {"status": "ok" if ready else "unavailable", "checks": checks, "warnings": warnings},
        status=200 if ready else 503,
        headers={} if ready else {"Retry-After": "5"},
    )


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _migrations() -> None:
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise NotReadyError("run `manage.py migrate`")


def _unknown() -> str:
    return "unknown: the database does not answer"


def _broker_answers() -> str | None:
    if settings.BROKER_URL.startswith("filesystem:"):
        return "ok (embedded: for trying out only)"
    if first_that_answers(settings.BROKER_URL, BROKER_PROBE_SECONDS) is None:
        raise NotReadyError("no answer; events wait or go by webhook")
    return None


def _broker() -> str | None:
    """Whether it answers, and whether publishing works, which relays write into the database."""
    answers = _broker_answers()
    failing = [state for state in states().channels if state.name == "broker" and state.failing_seconds]
    if failing:
        raise NotReadyError(f"fails for {failing[0].failing_seconds:.0f} s: {failing[0].reason}")
    return answers


def _oldest_event() -> str:
    stats = outbox_stats()
    if stats.oldest_age_seconds > settings.OUTBOX_READY_MAX_AGE_SECONDS:
        raise NotReadyError(f"{stats.pending} events wait, the oldest for {stats.oldest_age_seconds:.0f} s")
    return f"ok ({stats.pending} waiting)"


def _oldest_result() -> str:
    stats = inbox_stats()
    if stats.oldest_age_seconds > settings.OUTBOX_READY_MAX_AGE_SECONDS:
        raise NotReadyError(f"{stats.waiting} results wait, the oldest for {stats.oldest_age_seconds:.0f} s")
    return f"ok ({stats.waiting} waiting)"


CHECKS: dict[str, Callable[[], str | None]] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "oldest_waiting_event": _oldest_event,
    "oldest_waiting_result": _oldest_result,
}
WITHOUT_DATABASE: dict[str, Callable[[], str | None]] = {"broker": _broker_answers}
