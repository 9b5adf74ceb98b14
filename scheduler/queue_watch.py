"""Looks at the queues from the beat process, beside its ticks: a broker that answers slowly must not delay them."""

import logging
import threading
import time

from celery import signals
from django.db import connections

from outbox.heartbeat import INTERVAL_SECONDS
from outbox.queues import QueueWatch

log = logging.getLogger(__name__)


def _watch() -> None:
    """Ends with the process. While the broker or the database is away there is nothing to see."""
    watch = QueueWatch()
    while True:
        try:
            watch.look()
        except Exception as error:
            # The ticks say that the broker is away; once more here would only fill the log.
            log.debug("queues not seen", extra={"reason": type(error).__name__})
            connections.close_all()
        time.sleep(INTERVAL_SECONDS)


@signals.beat_init.connect
def start(**_: object) -> None:
    """Celery's hook: once, when the beat begins."""
    threading.Thread(target=_watch, name="queue-watch", daemon=True).start()
