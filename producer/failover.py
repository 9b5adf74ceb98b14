"""Lets go of a connection whose server became read-only: after a failover the old primary still answers, and takes no writes.

Django keeps a connection that answers SELECT 1. With several hosts in DATABASE_URL and `target_session_attrs=read-write` the next
one goes to the new primary.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from django.db import InternalError
from django.db.backends.signals import connection_created
from django.dispatch import receiver

log = logging.getLogger(__name__)

READ_ONLY = "25006"


@receiver(connection_created)
def watch(connection: Any, **kwargs: Any) -> None:
    """Django's hook for a new connection; the wrapper stays for those that follow it."""
    if connection.vendor == "postgresql" and _expire_when_read_only not in connection.execute_wrappers:
        connection.execute_wrappers.append(_expire_when_read_only)


def _expire_when_read_only(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
    try:
        return execute(sql, params, many, context)
    except InternalError as error:
        if getattr(error.__cause__, "pgcode", None) == READ_ONLY:
            # As if it had reached CONN_MAX_AGE: whoever runs next closes it, and nobody in the middle of a transaction.
            context["connection"].close_at = time.monotonic()
            log.warning("the database is read-only; the next connection looks for another")
        raise
