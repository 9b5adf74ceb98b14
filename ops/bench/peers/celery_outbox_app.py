"""Its Celery application: a quorum queue and confirmed publishes, as ours."""

import os

from django_celery_outbox import OutboxCelery
from kombu import Queue

QUEUE = "peer.celery_outbox"
app = OutboxCelery("peer", broker=os.environ["BROKER_URL"])
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    task_default_queue=QUEUE,
    task_queues=[Queue(QUEUE, queue_arguments={"x-queue-type": "quorum"}, durable=True)],
)
