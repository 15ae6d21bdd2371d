"""Export of spans to an OpenTelemetry collector (OTLP over HTTP, protobuf), in its own thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.observe.traces import Span

logger = logging.getLogger(__name__)

_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_AT_ONCE = 512
"""Largest number of spans in a request."""
_GATHERING = 1.0
"""Seconds to gather spans for a request."""
_PATIENCE = 5.0
"""Seconds for the collector to accept a request, retries included."""
_FAREWELL = 2.0
"""Seconds for the last spans at the gateway's end."""


def http_exporter(endpoint: str, headers: Mapping[str, str]) -> SpanExporter:
    """Return an exporter to the full URL `endpoint` with these header fields."""
    # The library logs every failed batch; `SpanQueue` logs an unreachable collector once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return OTLPSpanExporter(endpoint=endpoint, headers=dict(headers), timeout=_PATIENCE)


class SpanQueue:
    """Bounded queue of spans with a sending thread; an unreachable collector loses spans."""

    def __init__(self, exporter: SpanExporter, resource: Mapping[str, str], limit: int) -> None:
        """`resource` describes the gateway; `limit` bounds the waiting spans, beyond which new ones are refused."""
        self._exporter = exporter
        self._resource = Resource(dict(resource))
        self._scope = InstrumentationScope("gateway")
        self._limit = limit
        self._waiting: deque[Span] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._counts = {"sent": 0, "lost": 0}
        self._is_away = False
        self._thread = threading.Thread(target=self._work, name="spans", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def __call__(self, spans: list[Span]) -> None:
        """Queue the spans of a call, all or none; returns at once."""
        with self._changed:
            if self._closing.is_set() or len(self._waiting) + len(spans) > self._limit:
                self._counts["lost"] += len(spans)
                return
            self._waiting.extend(spans)
            self._changed.notify()

    @property
    def counts(self) -> dict[str, int]:
        """Number of spans "sent" and "lost" since the start, and "waiting" now."""
        with self._changed:
            return {**self._counts, "waiting": len(self._waiting)}

    def close(self, timeout: float = _FAREWELL) -> None:
        """Send waiting spans for up to `timeout` seconds; blocks."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join(timeout)
        self._exporter.shutdown()

    def _work(self) -> None:
        while batch := self._next():
            try:
                is_sent = self._exporter.export([self._span(one) for one in batch]) is SpanExportResult.SUCCESS
            except Exception as error:  # after any library error, sending continues with the next batch
                is_sent = False
                logger.debug("spans are lost: %s", type(error).__name__)
            self._count(len(batch), is_sent)

    def _next(self) -> list[Span]:
        """Wait for and return the next batch; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            full = min(_AT_ONCE, self._limit)
            self._changed.wait_for(lambda: len(self._waiting) >= full or self._closing.is_set(), _GATHERING)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]

    def _count(self, number: int, is_sent: bool) -> None:
        with self._changed:
            self._counts["sent" if is_sent else "lost"] += number
        if self._is_away is is_sent:
            self._is_away = not is_sent
            if is_sent:
                logger.info("the collector of traces takes them again")
            else:
                logger.warning("the collector of traces takes none: they are lost until it does")

    def _span(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=None if span.parent is None else _context(span.trace_id, span.parent),
            resource=self._resource,
            attributes=span.attributes,
            events=[Event(one.name, one.attributes, _nanoseconds(one.at)) for one in span.happenings],
            kind=_KINDS[span.role],
            status=Status() if span.fault is None else Status(StatusCode.ERROR, span.fault),
            start_time=_nanoseconds(span.began),
            end_time=_nanoseconds(span.ended),
            instrumentation_scope=self._scope,
        )


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
