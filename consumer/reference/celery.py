"""The Celery application: each option closes a failure mode that somebody met."""

import os
from typing import Any

from celery import Celery, signals
from django.conf import settings

from processing import topology
from reference import env as environment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reference.settings")

app = Celery("reference")


def configuration() -> dict[str, Any]:
    """Celery's settings; read when the application is first used, because they need Django's."""
    broker_url, transport_options = environment.broker(settings.BROKER_URL)
    return {
        "broker_url": broker_url,
        "broker_transport": environment.FILESYSTEM_TRANSPORT if broker_url.startswith("filesystem") else None,
        "broker_transport_options": transport_options,
        "broker_heartbeat": 10 if broker_url.startswith("amqp") else 0,
        "broker_connection_timeout": 3,
        # None: never give up on a broker that is away; Celery's default stops consuming after 100 tries.
        "broker_connection_max_retries": None,
        "broker_connection_retry_on_startup": True,
        "broker_channel_error_retry": True,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        # Acknowledge after the work; a process that dies in it gives the message back, the delivery limit ends a loop.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # An unforeseen exception dead-letters the message; Celery's default acknowledges, that is loses, it.
        "task_acks_on_failure_or_timeout": False,
        "worker_prefetch_multiplier": 1,
        "task_soft_time_limit": 45,
        "task_time_limit": 60,
        "worker_max_tasks_per_child": 1000,
        # For SIGQUIT, or SIGTERM with REMAP_SIGTERM=SIGQUIT in the environment; a plain SIGTERM lets tasks end.
        "worker_soft_shutdown_timeout": 20.0,
        "worker_enable_soft_shutdown_on_idle": False,
        # JSON only: pickle in a queue is code execution for whoever can write to it.
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_accept_content": ["json"],
        "event_serializer": "json",
        "enable_utc": True,
        "timezone": "UTC",
        "task_ignore_result": True,
        "result_backend": None,
        "task_queues": [topology.EVENTS],
        "task_default_queue": topology.EVENTS.name,
        "task_default_exchange": topology.TRANSACTIONS.name,
        "task_default_exchange_type": topology.TRANSACTIONS.type,
        "task_default_routing_key": "transaction.created",
        "task_create_missing_queues": False,
        "worker_detect_quorum_queues": True,
        "worker_consumer": "reference.worker:StrictConsumer",
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


app.add_defaults(configuration)
app.autodiscover_tasks(["processing"])
app.autodiscover_tasks(["processing"], related_name="in_worker")


@signals.setup_logging.connect
def keep_our_logging(**_: object) -> None:
    """Whoever listens here keeps Celery from adding a handler of its own and from hiding what is below WARNING."""
