"""Spans, where OTEL_EXPORTER_OTLP_ENDPOINT is set; elsewhere nothing, at the price of a function call.

Only here and in `otel` is OpenTelemetry known, and it is not even imported while it is off.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from outbox.context import traceparent_of
from outbox.envelope import StoredEvent


class Tracer(Protocol):
    """What we need of a tracing library."""

    @contextmanager
    def span(self, name: str, kind: str, parent: str | None, attributes: Mapping[str, str]) -> Iterator[str | None]:
        """A span around the block, child of `parent` or of the span around it; yields its traceparent."""
        yield None

    def past(
        self, name: str, kind: str, parent: str | None, attributes: Mapping[str, str], began_ns: int, ended_ns: int
    ) -> str | None:
        """A span that is over already."""

    def current(self) -> str | None:
        """The traceparent of the span around us."""


class _NoTracer:
    @contextmanager
    def span(self, name: str, kind: str, parent: str | None, attributes: Mapping[str, str]) -> Iterator[str | None]:
        yield parent

    def past(
        self, name: str, kind: str, parent: str | None, attributes: Mapping[str, str], began_ns: int, ended_ns: int
    ) -> str | None:
        return parent

    def current(self) -> str | None:
        return None


ON = bool(settings.TRACES)
tracer: Tracer = import_string("outbox.otel.OtelTracer")() if ON else _NoTracer()


def published(events: Iterable[StoredEvent], channel: str, began_ns: int, ended_ns: int) -> None:
    """A span for each event that a channel has confirmed, under the one that wrote it."""
    for event in events:
        names = {"event_id": str(event.id), "transaction_id": event.key, "channel": channel}
        parent = traceparent_of(event.body.encode())
        tracer.past(f"publish {event.type}", "producer", parent, names, began_ns, ended_ns)
