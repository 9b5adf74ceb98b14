"""The Celery application and its reliability options, each of which closes a failure mode that was met."""

import os

from celery import Celery, signals
from django.conf import settings

from outbox import topology
from scheduler.schedule import beat_schedule

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "producer.settings")

app = Celery("producer")


def configuration() -> dict[str, object]:
    """Celery's settings; read when the application is first used, since they need Django's."""
    # Celery's command line takes BROKER_URL for its own and would prefer it to what stands here.
    os.environ.pop("CELERY_BROKER_URL", None)
    broker_url = settings.TASKS_BROKER_TRANSPORT_URL
    on_amqp = broker_url.startswith("amqp")
    return {
        "broker_url": broker_url,
        "broker_read_url": settings.READ_BROKER_TRANSPORT_URL,
        "broker_transport": None if on_amqp else topology.EMBEDDED_TRANSPORT,
        "broker_transport_options": settings.BROKER_TRANSPORT_OPTIONS,
        # A dead peer is noticed after two missed beats, 20 seconds; Celery's default is four minutes.
        "broker_heartbeat": 10 if on_amqp else 0,
        # None: a worker never gives up on a broker that is away. Celery's default stops after 100 tries.
        "broker_connection_max_retries": None,
        "broker_connection_retry_on_startup": True,
        "broker_channel_error_retry": True,
        "broker_connection_timeout": 3,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        # Acknowledge after the work, and give the message back when the process dies in it.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # An unforeseen exception dead-letters a result; Celery's default acknowledges, that is loses, it.
        "task_acks_on_failure_or_timeout": False,
        "worker_prefetch_multiplier": 1,
        "task_time_limit": 60,
        "task_soft_time_limit": 45,
        "worker_max_tasks_per_child": 1000,
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
        # A misspelt queue name is an error and not a new classic queue.
        "task_create_missing_queues": False,
        "task_queues": topology.worker_queues([topology.TASK_QUEUE, topology.RESULT_QUEUE]),
        "task_default_queue": topology.TASK_QUEUE,
        "task_default_exchange": "",
        "task_default_routing_key": topology.TASK_QUEUE,
        "task_default_queue_type": "quorum" if on_amqp else "classic",
        "worker_detect_quorum_queues": True,
        "worker_consumer": "producer.strict_consumer:StrictConsumer",
        "task_routes": {"results.receive": {"queue": topology.RESULT_QUEUE}},
        # Task results are for operators; business truth is in our own tables.
        "result_backend": "producer.task_results:OperatorResults",
        "result_extended": True,
        "result_expires": 7 * 24 * 3600,
        "result_backend_always_retry": True,
        "result_backend_max_retries": 10,
        "beat_scheduler": "scheduler.beat:InPlaceScheduler",
        "beat_schedule": beat_schedule(expiring=not on_amqp),
        "beat_max_loop_interval": 1,
        "worker_hijack_root_logger": False,
        "worker_send_task_events": False,
    }


app.add_defaults(configuration)
app.autodiscover_tasks()
app.autodiscover_tasks(["producer"], related_name="worker_heart")
app.autodiscover_tasks(["producer"], related_name="instruments")
app.autodiscover_tasks(["scheduler"], related_name="queue_watch")


@signals.worker_init.connect
@signals.beat_init.connect
def declare_topology(**_: object) -> None:
    """Declares exchanges and queues when a process starts, so that no start order loses a message."""
    topology.declare_quietly()


@signals.setup_logging.connect
def keep_our_logging(**_: object) -> None:
    """Whoever listens here keeps Celery from adding a handler of its own and from hiding what is below WARNING."""
