"""A collector of spans on loopback: OTLP over HTTP, protobuf, as any real one takes it."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict


class Collector:
    def __init__(self):
        self.spans = spans = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                for resource in request.resource_spans:
                    service = next(
                        a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
                    )
                    for scope in resource.scope_spans:
                        for span in scope.spans:
                            attributes = {a.key: a.value.string_value for a in span.attributes}
                            ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                            spans.append(Span(service, span.name, *ids, attributes))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def tree(spans, trace):
    """The spans of one trace as indented lines, children below their parents; roots are those whose parent is not here."""
    ours = [span for span in spans if span.trace == trace]
    known = {span.id for span in ours}
    lines = []

    def show(span, depth):
        lines.append(f"{'  ' * depth}{span.service}: {span.name}")
        for child in sorted((s for s in ours if s.parent == span.id), key=lambda s: s.name):
            show(child, depth + 1)

    for root in (span for span in ours if span.parent not in known):
        show(root, 0)
    return lines
