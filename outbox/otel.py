"""OpenTelemetry behind outbox.tracing: spans to an OTLP collector over HTTP, in batches, off the working threads.

The SDK reads its own settings: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and the rest.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

_KINDS = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}


class OtelTracer:
    """One provider per process; its thread is made anew after a fork by the SDK."""

    def __init__(self) -> None:
        resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "producer")})
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = provider.get_tracer("producer")

    @contextmanager
    def span(self, name: str, kind: str, parent: str | None, attributes: Mapping[str, str]) -> Iterator[str | None]:
        """See outbox.tracing.Tracer."""
        with self._tracer.start_as_current_span(
            name, context=_context(parent), kind=_KINDS[kind], attributes=dict(attributes)
        ) as span:
            yield _traceparent(span)

    def past(
        self, name: str, kind: str, parent: str | None, attributes: Mapping[str, str], began_ns: int, ended_ns: int
    ) -> str | None:
        """See outbox.tracing.Tracer."""
        span = self._tracer.start_span(
            name, context=_context(parent), kind=_KINDS[kind], attributes=dict(attributes), start_time=began_ns
        )
        span.end(ended_ns)
        return _traceparent(span)

    def current(self) -> str | None:
        """See outbox.tracing.Tracer."""
        span = trace.get_current_span()
        return _traceparent(span) if span.get_span_context().is_valid else None


def _context(traceparent: str | None) -> Context | None:
    """None leaves it to the span around us."""
    if traceparent is None:
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    remote = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return trace.set_span_in_context(NonRecordingSpan(remote))


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
