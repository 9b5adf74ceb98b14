"""Starts and stops the courier in Celery's processes; needs no broker, so a worker that cannot connect still sweeps."""

from typing import Any

from celery import signals
from celery.concurrency.prefork import TaskPool as PreforkPool

from processing import courier


@signals.worker_init.connect
def start_in_worker(sender: Any = None, **_: Any) -> None:
    """For the pools that do not fork. A prefork parent starts none: to fork beside a thread can deadlock the child."""
    pool = getattr(sender, "pool_cls", None)
    if not _forks(pool):
        courier.ensure_started()


@signals.worker_process_init.connect
def start_in_child(**_: Any) -> None:
    """Each prefork child has its own courier; the leases keep them apart."""
    courier.ensure_started()


@signals.worker_shutting_down.connect
@signals.worker_process_shutdown.connect
def stop(**_: Any) -> None:
    """Asks only: a signal handler must not wait for a POST in flight. What it held is swept when its lease ends."""
    courier.ask_to_stop()


def _forks(pool: Any) -> bool:
    if isinstance(pool, type):
        return issubclass(pool, PreforkPool)
    return "prefork" in str(pool)
