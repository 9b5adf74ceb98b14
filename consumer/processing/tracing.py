"""Spans, where OTEL_EXPORTER_OTLP_ENDPOINT is set; elsewhere nothing. And whose work it is, for the log lines."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.conf import settings

_names: ContextVar[Mapping[str, str]] = ContextVar("names", default={})  # noqa: B039 - never changed in place

if settings.TRACES:
    from opentelemetry import propagate, trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    _service = os.environ.get("CONSUMER_OTEL_SERVICE_NAME", "consumer")
    _provider = TracerProvider(resource=Resource.create({"service.name": _service}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("consumer")
    _kinds = {"consumer": trace.SpanKind.CONSUMER, "client": trace.SpanKind.CLIENT}


def names() -> Mapping[str, str]:
    """What is known of the work in hand: request_id, event_id, transaction_id, webhook_id."""
    return _names.get()


@contextmanager
def about(**known: str) -> Iterator[None]:
    """Knows it for a while; empty values are left out."""
    token = _names.set({**_names.get(), **{name: value for name, value in known.items() if value}})
    try:
        yield
    finally:
        _names.reset(token)


@contextmanager
def span(name: str, kind: str, parent: str) -> Iterator[str]:
    """A span around the block, child of `parent` (a traceparent); yields its own traceparent, or `parent` while off."""
    if not settings.TRACES:
        yield parent
        return
    context: Any = propagate.extract({"traceparent": parent}) if parent else None
    with _tracer.start_as_current_span(name, context=context, kind=_kinds[kind], attributes=dict(names())):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        yield carrier.get("traceparent", parent)
