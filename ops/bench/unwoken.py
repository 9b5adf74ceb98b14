"""The Producer's web process without its wake-ups, so that `latency.py` can tell what they cost."""

from outbox import wakeup
from producer.wsgi import application

__all__ = ["application"]
wakeup.take = lambda: False
wakeup.poke = lambda: None
