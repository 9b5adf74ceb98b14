"""One structured line per event, JSON in production; ids on it, never payloads, secrets or account numbers."""

from typing import Any

import structlog

from outbox import context, database_errors

# What a line may carry beyond its message: names of things, never their content.
CONTEXT = (
    *("request_id", "event_id", "transaction_id", "webhook_id", "client", "task", "door", "state"),
    *("reason", "channel", "relay", "wakeup", "events", "returned", "error", "process_name", "queues", "count"),
    *("method", "route", "status", "milliseconds", "light", "folder", "partition", "part"),
    # What people did by hand: which verb, to what, who, how many rows it changed.
    *("verb", "object", "by", "changed", "event_ids", "webhook_ids", "user_id", "key_id", "direction", "kind"),
)


def _take_context(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Whose work it is, and the known `extra` fields of a standard log record."""
    event.update(context.names())
    record = event.get("_record")
    for name in CONTEXT:
        if record is not None and getattr(record, name, None) is not None:
            event[name] = getattr(record, name)
    return event


def log_configuration(level: str, *, as_json: bool) -> dict[str, Any]:
    """Django's LOGGING: everything to stderr through structlog's formatter."""
    renderer = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [
                    structlog.stdlib.add_log_level,
                    structlog.stdlib.add_logger_name,
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                    _take_context,
                    structlog.processors.ExceptionRenderer(lambda info: database_errors.format_exception(*info)),
                ],
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # A refused request is an answer, not an event; the API logs what matters itself.
            "django.request": {"level": "ERROR"},
            "amqp": {"level": "WARNING"},
            # Two lines for each tick would drown the rest.
            "celery": {"level": "WARNING"},
            "urllib3": {"level": "WARNING"},
        },
    }
