"""Wakes a worker after a result was stored: off the request's thread, coalesced, lost without harm."""

from celery import current_app
from django.conf import settings

from outbox.wakeup import Coalescer, TaskLink

APPLY_TASK = "webhooks.apply_results"
# At most one nudge per process in this time (seconds), and in a stream of results so many a second after so many at once:
# the worker drains all that is due.
MIN_INTERVAL_SECONDS = 0.02
PER_SECOND, AT_ONCE = 20.0, 10
# A nudge that waited longer says nothing that the sweep has not seen (seconds). For the embedded transport only: RabbitMQ's
# queue drops it by its own clock, where this would be judged by the worker's.
EXPIRES_SECONDS = 10


def _send() -> None:
    expires = None if settings.BROKER_URL.startswith("amqp") else EXPIRES_SECONDS
    # retry=False: while the broker is away the sweep finds the row; nobody may hang on it here.
    # declare=[]: who reads the queue declares it. The results' worker may not, and a refusal would cost the nudge.
    with _link.producer() as producer:
        current_app.send_task(APPLY_TASK, producer=producer, retry=False, declare=[], expires=expires)


_link = TaskLink(current_app)
_nudger = Coalescer("inbox-nudge", _send, MIN_INTERVAL_SECONDS, PER_SECOND, AT_ONCE)


def poke() -> None:
    """Says that there is something to apply; call it after the commit."""
    _nudger.poke()
