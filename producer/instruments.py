"""What the web processes and Celery's tasks count and time for Prometheus."""

import time
from typing import Any

from celery import signals

from outbox import context
from outbox.instruments import SECONDS, counter, histogram

REQUESTS = counter("http_requests", "Requests by route, method and status.", ["route", "method", "status"])
REQUEST_SECONDS = histogram(
    "http_request_seconds", "Time from the first middleware to the answer.", ["route", "method"]
)
TASKS = counter("celery_tasks", "Tasks run by a worker, by how they ended.", ["task", "state"])
TASK_SECONDS = histogram("celery_task_seconds", "How long tasks run.", ["task"], (*SECONDS, 30.0, 60.0))

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

_requests: dict[tuple[str, str, int], Any] = {}
_seconds: dict[tuple[str, str], Any] = {}
_started: dict[str, float] = {}


def request_answered(route: str, method: str, status: int, seconds: float) -> None:
    """`route` is the pattern and not the path: what a client can choose must not become a label."""
    if method not in METHODS:
        method = "other"
    child = _requests.get((route, method, status))
    if child is None:
        child = _requests[route, method, status] = REQUESTS.labels(route, method, str(status))
        _seconds[route, method] = REQUEST_SECONDS.labels(route, method)
    child.inc()
    _seconds[route, method].observe(seconds)


@signals.task_prerun.connect
def task_begins(task_id: str = "", task: Any = None, **_: Any) -> None:
    """In the process that runs it. What the thread knew of the last one is forgotten."""
    context.start(task=task.name if task is not None else "unknown")
    _started[task_id] = time.perf_counter()


@signals.task_postrun.connect
def task_ends(task_id: str = "", task: Any = None, state: str | None = None, **_: Any) -> None:
    """`ignored` is the state of a tick that found nothing."""
    began = _started.pop(task_id, None)
    name = task.name if task is not None else "unknown"
    if state == "SUCCESS" and task is not None and task.request.ignore_result and not task.ignore_result:
        state = "ignored"
    TASKS.labels(name, str(state or "unknown").lower()).inc()
    if began is not None:
        TASK_SECONDS.labels(name).observe(time.perf_counter() - began)
