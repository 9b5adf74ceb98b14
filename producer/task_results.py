"""Task results for operators. One that cannot be written is logged, and never ends the worker."""

import logging
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django_celery_results.backends.database import DatabaseBackend

log = logging.getLogger(__name__)


class OperatorResults(DatabaseBackend):
    """django-celery-results, less its one danger: on a read-only standby the solo pool's worker died of its result row.

    Retries come first (result_backend_always_retry); business truth is in our own tables.
    """

    def store_result(self, task_id: str, result: Any, *args: Any, **kwargs: Any) -> Any:
        """As the base class, but a database that does not take the row is no error of the task."""
        try:
            return super().store_result(task_id, result, *args, **kwargs)
        except (DatabaseError, InterfaceError) as error:
            log.warning("task result not kept", extra={"task": task_id, "reason": type(error).__name__})
            if not connection.in_atomic_block:
                connection.close()
            return result
