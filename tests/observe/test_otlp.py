"""Spans on their way to a collector: what comes of them, and what a collector that is away costs."""

from __future__ import annotations

import time

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ReadSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway.observe.otlp import SpanQueue, http_exporter
from gateway.observe.traces import Happening, Span
from tests.observe.otlp_collector import OtlpCollector, attributes, eventually

RESOURCE = {"service.name": "gateway"}


def spans(call: int = 1, legs: int = 2) -> list[Span]:
    """A call that failed, and its legs."""
    root = Span(
        name="call",
        role="internal",
        trace_id=call,
        span_id=1,
        began=1000.0,
        ended=1001.5,
        attributes={"gateway.call.id": str(call), "gateway.sip.call_ids": ("a", "b")},
        happenings=(Happening("ringing", 1000.25, {"gateway.call.state": "ringing"}),),
        fault="Something went wrong.",
    )
    return [root] + [
        Span(
            name="sip leg",
            role="client",
            trace_id=call,
            span_id=2 + leg,
            parent=1,
            began=1000.0,
            ended=1001.0,
            attributes={},
        )
        for leg in range(legs)
    ]


def test_a_call_becomes_the_spans_of_the_library() -> None:
    """Parents, kinds, times in nanoseconds, events and faults; all of it before the queue is closed."""
    exporter = InMemorySpanExporter()
    queue = SpanQueue(exporter, RESOURCE, 100)
    queue.start()
    queue(spans())
    queue.close()
    root, *legs = exporter.get_finished_spans()
    assert root.context is not None
    assert (root.parent, root.kind, root.status.status_code) == (None, SpanKind.INTERNAL, StatusCode.ERROR)
    assert (root.start_time, root.end_time) == (1_000_000_000_000, 1_001_500_000_000)
    assert [(one.name, one.timestamp) for one in root.events] == [("ringing", 1_000_250_000_000)]
    assert [leg.parent.span_id for leg in legs if leg.parent] == [1, 1]
    assert all(leg.context and leg.context.trace_id == root.context.trace_id for leg in legs)
    assert {leg.status.status_code for leg in legs} == {StatusCode.UNSET}
    assert queue.counts == {"sent": 3, "lost": 0, "waiting": 0}


def test_a_collector_reads_the_spans_back() -> None:
    """Over HTTP, at the URL that is given, with our header fields."""
    with OtlpCollector() as collector:
        queue = SpanQueue(http_exporter(f"{collector.url}/v1/traces", {"x-key": "s3cret"}), RESOURCE, 100)
        queue.start()
        queue(spans())
        queue.close()
        [(root, legs)] = collector.traces
    assert collector.paths == ["/v1/traces"]
    assert collector.headers[0]["x-key"] == "s3cret"
    assert collector.batches[0].resource.attributes[0].value.string_value == "gateway"
    assert root.trace_id == (1).to_bytes(16)
    assert (root.kind, root.status.code) == (ReadSpan.SPAN_KIND_INTERNAL, Status.STATUS_CODE_ERROR)
    assert attributes(root) == {"gateway.call.id": "1", "gateway.sip.call_ids": ["a", "b"]}
    assert [leg.kind for leg in legs] == [ReadSpan.SPAN_KIND_CLIENT] * 2


def test_a_collector_that_hangs_costs_no_call_anything() -> None:
    """10,000 calls: taken at once, never more kept than may wait, all others counted; and the end does not wait."""
    limit = 1_000
    with OtlpCollector() as collector:
        collector.hangs = True
        queue = SpanQueue(http_exporter(f"{collector.url}/v1/traces", {}), RESOURCE, limit)
        queue.start()
        queue(spans())
        assert collector.asked.wait(30)
        began = time.perf_counter()
        for call in range(2, 10_002):
            queue(spans(call))
        assert time.perf_counter() - began < 5
        counts = queue.counts
        assert limit - 3 < counts["waiting"] <= limit
        assert counts == {"sent": 0, "lost": 30_000 - counts["waiting"], "waiting": counts["waiting"]}
        began = time.perf_counter()
        queue.close(0.2)
        assert time.perf_counter() - began < 2


def test_a_call_is_whole_or_lost() -> None:
    """Where not all of its spans find room, none is taken."""
    queue = SpanQueue(InMemorySpanExporter(), RESOURCE, 4)
    queue(spans(1))
    queue(spans(2))
    queue(spans(3, legs=0))
    assert queue.counts == {"sent": 0, "lost": 3, "waiting": 4}


def test_a_collector_that_comes_back_is_sent_to_again(caplog: pytest.LogCaptureFixture) -> None:
    """What it refused is lost and counted; the log says once that it is away, and once that it is back."""
    with OtlpCollector() as collector:
        collector.status = 400
        queue = SpanQueue(http_exporter(f"{collector.url}/v1/traces", {"x-key": "s3cret"}), RESOURCE, 100)
        queue.start()
        # What a thread said that had the same number before it ended is none of this one's.
        caplog.clear()
        with caplog.at_level("INFO"):
            for call in (1, 2):
                queue(spans(call))
                eventually(lambda call=call: queue.counts["lost"] == 3 * call)  # type: ignore[misc]
            collector.status = 200
            queue(spans(3))
            queue.close()
        assert queue.counts == {"sent": 3, "lost": 6, "waiting": 0}
    # The thread of a queue that was closed on a collector that hangs may still say its own.
    said = [record.getMessage() for record in caplog.records if record.thread == queue._thread.ident]
    assert sum("takes none" in line for line in said) == 1
    assert sum("takes them again" in line for line in said) == 1
    assert "s3cret" not in caplog.text


def test_spans_after_the_end_are_lost() -> None:
    """Nobody would send them."""
    exporter = InMemorySpanExporter()
    queue = SpanQueue(exporter, RESOURCE, 100)
    queue.start()
    queue.close()
    queue(spans())
    assert queue.counts == {"sent": 0, "lost": 3, "waiting": 0}
