"""Prints definitions.json: virtual hosts, users with what each may do, queues, policies. From the code's own topology.

python ops/rabbitmq/make_definitions.py > ops/rabbitmq/definitions.json
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ |= {"BROKER_URL": "amqp://127.0.0.1/producer", "TASKS_BROKER_URL": "amqp://127.0.0.1/producer-tasks"}
os.environ |= {"DEBUG": "true", "DJANGO_SETTINGS_MODULE": "producer.settings"}

import django

django.setup()

from django.conf import settings  # noqa: E402

from outbox import topology  # noqa: E402

EVENTS, TASKS = "producer", "producer-tasks"
NOTHING, EVERYTHING = "^$", ".*"
# By which a Celery worker answers `celery inspect`. Names of its own making, one for each worker.
CELERY_CONTROL = r"^(.*\.)?(reply\.)?celery\.pidbox$"
CONTROL = CELERY_CONTROL.strip("^$")
EVENT_QUEUE = settings.OUTBOX_ROUTES["transactions"]["queue"]

# user, virtual host, configure, write, read. What is not listed is refused.
PERMISSIONS = [
    # Relay, beat and workers as they send events: one exchange. They look whether queues are there, and read none.
    ("producer", EVENTS, NOTHING, f"^{settings.OUTBOX_ROUTES['transactions']['exchange']}$", NOTHING),
    # The worker of the second door: one queue.
    ("producer-results", EVENTS, CELERY_CONTROL, CELERY_CONTROL, rf"^producer\.results\.v1$|^{CONTROL}$"),
    # It wakes the worker that applies what it has stored: it may put tasks there, through the default exchange, which has no
    # finer grain, and read none.
    ("producer-results", TASKS, NOTHING, r"^amq\.default$", NOTHING),
    # Celery's ticks and wake-ups, in a virtual host that nobody but the Producer may enter.
    ("producer-tasks", TASKS, EVERYTHING, EVERYTHING, EVERYTHING),
    # The Consumer: reads one queue, sends results to another through the default exchange, which has no finer grain.
    ("consumer", EVENTS, CELERY_CONTROL, rf"^amq\.default$|^{CONTROL}$", rf"^{EVENT_QUEUE}$|^{CONTROL}$"),
]
# A queue that nobody reads fills its disk. Full, it refuses; then events wait in the outbox, where there is more room.
MAX_BYTES = 1024**3
POLICY = {"max-length-bytes": MAX_BYTES, "queue-leader-locator": "balanced"}


def definitions() -> dict[str, Any]:
    """As `rabbitmqctl import_definitions` takes them. Nobody can log in until `rabbitmqctl change_password`."""
    queues = [
        (vhost, queue)
        for vhost, url in ((EVENTS, settings.BROKER_URL), (TASKS, settings.TASKS_BROKER_URL))
        for queue in topology.queues_at(url)
    ]
    bound = [(vhost, queue) for vhost, queue in queues if queue.exchange.name]
    exchanges = {(vhost, queue.exchange.name): queue.exchange.type for vhost, queue in bound}
    return {
        "vhosts": [{"name": EVENTS}, {"name": TASKS}],
        "users": [
            {
                "name": user,
                "password_hash": "",
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "",
            }
            for user in dict.fromkeys(user for user, *_ in PERMISSIONS)
        ],
        "permissions": [
            {"user": user, "vhost": vhost, "configure": configure, "write": write, "read": read}
            for user, vhost, configure, write, read in PERMISSIONS
        ],
        "exchanges": [
            {"name": name, "vhost": vhost, "type": kind, "durable": True, "auto_delete": False, "internal": False,
             "arguments": {}}
            for (vhost, name), kind in exchanges.items()
        ],
        "queues": [
            {"name": queue.name, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": queue.queue_arguments}
            for vhost, queue in queues
        ],
        "bindings": [
            {"source": queue.exchange.name, "vhost": vhost, "destination": queue.name, "destination_type": "queue",
             "routing_key": queue.routing_key, "arguments": {}}
            for vhost, queue in bound
        ],
        "policies": [
            {"name": "bounded", "vhost": EVENTS, "pattern": r"^(consumer\.transactions|producer\.results)\.v1$",
             "apply-to": "queues", "priority": 0, "definition": POLICY}
        ],
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(definitions(), indent=2) + "\n")
