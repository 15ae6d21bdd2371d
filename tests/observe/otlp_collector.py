"""An OpenTelemetry collector for traces: OTLP over HTTP on loopback, read back from the protobuf."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span


class OtlpCollector:
    """Takes every POST, answers `status`, and keeps what came; while it `hangs` it answers only at its end."""

    def __init__(self) -> None:
        self.status = 200
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.batches: list[ResourceSpans] = []
        self.hangs = False
        self.asked = threading.Event()
        """Somebody has posted, answered or not."""
        self._over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._take(self)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.asked.set()
        if self.hangs:
            self._over.wait()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert request.headers["Content-Type"] == "application/x-protobuf"
        if self.status == 200:
            self.paths.append(request.path)
            self.headers.append(dict(request.headers))
            self.batches += ExportTraceServiceRequest.FromString(body).resource_spans
        request.send_response(self.status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def let_go(self) -> None:
        """Answer what was left without one."""
        self._over.set()

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def spans(self) -> list[Span]:
        """Every span, in the order in which they came."""
        return [span for batch in list(self.batches) for scope in batch.scope_spans for span in scope.spans]

    @property
    def traces(self) -> list[tuple[Span, list[Span]]]:
        """Each call's span with those of its legs; fails on a span that belongs to none."""
        spans = self.spans
        roots = {span.trace_id: (span, list[Span]()) for span in spans if not span.parent_span_id}
        for span in spans:
            if span.parent_span_id:
                root, legs = roots[span.trace_id]
                assert span.parent_span_id == root.span_id
                legs.append(span)
        return list(roots.values())


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for another thread to get there."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def attributes(span: Span) -> dict[str, Any]:
    """By their keys, as Python has them; an array is a list."""
    return {one.key: _value(one.value) for one in span.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)


def events(span: Span) -> list[str]:
    """Names of its events, in order."""
    return [event.name for event in span.events]
