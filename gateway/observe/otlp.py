"""Spans for an OpenTelemetry collector (OTLP over HTTP, protobuf), sent by a thread of its own."""

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
"""Spans of one request."""
_GATHERING = 1.0
"""Seconds that spans wait for others to go with them."""
_PATIENCE = 5.0
"""Seconds that a collector has to take them, further tries included."""
_FAREWELL = 2.0
"""Seconds that the end of the gateway waits for the last ones."""


def http_exporter(endpoint: str, headers: Mapping[str, str]) -> SpanExporter:
    """What posts to the whole URL `endpoint`, with these header fields."""
    # It says for every batch that it could not be sent; `SpanQueue` says once that the collector is away.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return OTLPSpanExporter(endpoint=endpoint, headers=dict(headers), timeout=_PATIENCE)


class SpanQueue:
    """Keeps so many spans, at most, until its thread has sent them; a collector that is away loses them."""

    def __init__(self, exporter: SpanExporter, resource: Mapping[str, str], limit: int) -> None:
        """`resource`: what describes this gateway; `limit`: spans that wait, of which the newest are refused."""
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
        """Begin to send."""
        self._thread.start()

    def __call__(self, spans: list[Span]) -> None:
        """Take the spans of a call, all or none of them; returns at once."""
        with self._changed:
            if self._closing.is_set() or len(self._waiting) + len(spans) > self._limit:
                self._counts["lost"] += len(spans)
                return
            self._waiting.extend(spans)
            self._changed.notify()

    @property
    def counts(self) -> dict[str, int]:
        """Spans that are "sent" and "lost" since the start, and those that are "waiting"."""
        with self._changed:
            return {**self._counts, "waiting": len(self._waiting)}

    def close(self, timeout: float = _FAREWELL) -> None:
        """Send what waits, as far as that goes in `timeout` seconds; blocks."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join(timeout)
        self._exporter.shutdown()

    def _work(self) -> None:
        while batch := self._next():
            try:
                is_sent = self._exporter.export([self._span(one) for one in batch]) is SpanExportResult.SUCCESS
            except Exception as error:  # whatever the library raises, calls are told to the next collector
                is_sent = False
                logger.debug("spans are lost: %s", type(error).__name__)
            self._count(len(batch), is_sent)

    def _next(self) -> list[Span]:
        """The next spans to send, once there are some; none: it is over."""
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
