"""Figures for Prometheus: what calls do, how long they take to set up, what was refused and dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from gateway.access.sources import Networks
from gateway.call.call import Call
from gateway.call.load import LoadControl
from gateway.call.registry import Calls
from gateway.call.state import State
from gateway.media.engine import StreamStatistics
from gateway.web.facade import READY
from gateway.web.forwarded import known_address
from gateway.web.http.errors import ApiError

_SETUP_SECONDS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60)
_MEDIA_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5)
_CALL_SECONDS = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_MOS = (1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.2, 4.4)
_LOSS = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_LATE_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


def only_for(
    sources: Iterable[str], endpoint: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """Return `endpoint` for clients of these addresses and networks; 403 for others, and behind unknown proxies."""
    networks = Networks(sources)

    async def answer(request: Request) -> Response:
        if (known_address(request) or "") not in networks:
            raise ApiError(403, "This is for the addresses of metrics.sources")
        return await endpoint(request)

    return answer


class Front(Protocol):
    """What the facade lists besides (see gateway.web.facade)."""

    def list_trunks(self) -> list[dict[str, Any]]: ...

    def list_bans(self) -> list[dict[str, Any]]: ...

    def health(self) -> dict[str, Any]: ...


class _Live(Collector):
    """What is read off the rooms at the moment somebody asks."""

    def __init__(
        self,
        calls: Calls,
        web_users: Callable[[], int],
        sip_counts: Callable[[], Mapping[str, int]],
        front: Front,
        timers: Callable[[], int],
    ) -> None:
        self._timers = timers
        self._front = front
        self._calls = calls
        self._web_users = web_users
        self._sip_counts = sip_counts

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("gateway_calls_active", "Calls at the moment.", value=len(self._calls))
        yield GaugeMetricFamily("gateway_web_users", "Web users with a page open.", value=self._web_users())
        refused = CounterMetricFamily("gateway_calls_refused", "Calls never placed, by cause.", labels=["cause"])
        for cause, count in self._calls.refused.items():
            refused.add_metric([cause.word], count)
        yield refused
        sip = CounterMetricFamily("gateway_sip_incidents", "What SIP dropped, refused or wondered at.", labels=["what"])
        for what, count in self._sip_counts().items():
            sip.add_metric([what], count)
        yield sip
        banned = len(self._front.list_bans())
        yield GaugeMetricFamily("gateway_sip_banned", "SIP sources that are not answered.", value=banned)
        yield GaugeMetricFamily("gateway_tasks", "Tasks of the event loop.", value=_tasks())
        yield GaugeMetricFamily("gateway_sip_timers", "SIP timers that are armed.", value=self._timers())
        health = self._front.health()
        yield GaugeMetricFamily("gateway_ready", "1: it takes new calls.", value=int(health["status"] in READY))
        yield GaugeMetricFamily(
            "gateway_conditions", "Things that /healthz names for an operator.", value=len(health["conditions"])
        )
        yield from self._of_trunks()

    def _of_trunks(self) -> Iterable[Metric]:
        reachable = GaugeMetricFamily("gateway_trunk_reachable", "1: it answers OPTIONS, 0: not.", labels=["trunk"])
        registered = GaugeMetricFamily("gateway_trunk_registered", "1: we are registered there.", labels=["trunk"])
        for trunk in self._front.list_trunks():
            for family, state in ((reachable, trunk["reachable"]), (registered, trunk["registered"])):
                if state is not None:
                    family.add_metric([trunk["name"]], int(state))
        yield from (reachable, registered)


class _Load(Collector):
    def __init__(self, control: LoadControl) -> None:
        self._control = control

    def collect(self) -> Iterable[Metric]:
        control = self._control
        yield GaugeMetricFamily("gateway_load_share", "Share of new calls that are let in.", value=control.share)
        yield GaugeMetricFamily(
            "gateway_plane_busy", "Share of its time that the least busy packet thread works.", value=control.plane
        )
        yield GaugeMetricFamily(
            "gateway_store_seconds", "What the store takes to answer, median of two seconds.", value=control.store()
        )


class _Spans(Collector):
    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        counts = dict(self._counts())
        if not counts:
            return
        waiting = counts.pop("waiting")
        yield GaugeMetricFamily("gateway_spans_waiting", "Spans that wait for the collector of traces.", value=waiting)
        gone = CounterMetricFamily("gateway_spans", "Spans of traces, by what became of them.", labels=["fate"])
        for fate, count in counts.items():
            gone.add_metric([fate], count)
        yield gone


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # asked for outside the loop
        return 0


class Metrics:
    """Registry of one gateway; `observe` is told of every change of a call."""

    def __init__(
        self,
        calls: Calls,
        web_users: Callable[[], int],
        sip_counts: Callable[[], Mapping[str, int]],
        front: Front,
        timers: Callable[[], int] = lambda: 0,
    ) -> None:
        """`timers` gives how many SIP timers are armed."""
        self.registry = CollectorRegistry()
        self.registry.register(_Live(calls, web_users, sip_counts, front, timers))
        self._ended = Counter("gateway_calls", "Calls that are over, by cause.", ["cause"], registry=self.registry)
        self._answer = Histogram(
            "gateway_call_answer_seconds",
            "From the start of a call to its answer.",
            buckets=_SETUP_SECONDS,
            registry=self.registry,
        )
        self._media = Histogram(
            "gateway_call_media_seconds",
            "From the start of a call to media on both sides.",
            buckets=_MEDIA_SECONDS,
            registry=self.registry,
        )

        self._length = Histogram(
            "gateway_call_seconds",
            "From the answer of a call to its end.",
            buckets=_CALL_SECONDS,
            registry=self.registry,
        )
        self._mos = Histogram(
            "gateway_call_mos",
            "Quality of a direction of one side, over its whole call (ITU-T G.107).",
            ["direction"],
            buckets=_MOS,
            registry=self.registry,
        )
        self._loss = Histogram(
            "gateway_call_loss_ratio",
            "Packets of a direction of one side that were lost, over its whole call.",
            ["direction"],
            buckets=_LOSS,
            registry=self.registry,
        )
        self._late = Histogram(
            "gateway_loop_delay_seconds",
            "How late a timer of the event loop came, ten times a second.",
            buckets=_LATE_SECONDS,
            registry=self.registry,
        )

    def count_spans(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Show what becomes of the spans of traces (see SpanQueue.counts; empty: there are none)."""
        self.registry.register(_Spans(counts))

    def watch(self, control: LoadControl) -> None:
        """Show what new calls are refused for, and count how late the event loop was."""
        self.registry.register(_Load(control))
        control.told.append(lambda busy, late: self._late.observe(late))

    def observe(self, call: Call) -> None:
        """Count a call when it is over."""
        if call.state is not State.ENDED:
            return
        record = call.record
        self._ended.labels(call.cause.word).inc()
        if record.answered_after_ms is not None:
            self._answer.observe(record.answered_after_ms / 1000)
        if record.media_after_ms is not None:
            self._media.observe(record.media_after_ms / 1000)
        if record.answered_after_ms is not None and record.ended_after_ms is not None:
            self._length.observe((record.ended_after_ms - record.answered_after_ms) / 1000)
        for party in record.statistics.parties.values():
            self._quality("received", party.received)
            self._quality("sent", party.sent)

    def _quality(self, direction: str, stream: StreamStatistics) -> None:
        if stream.mos is not None:
            self._mos.labels(direction).observe(stream.mos)
        if stream.packets:
            # Of what was sent by us the peer reports, of what it sent we know ourselves what should have come.
            expected = stream.packets + (stream.lost if direction == "received" else 0)
            self._loss.labels(direction).observe(min(1.0, max(0, stream.lost) / expected))

    async def endpoint(self, request: Request) -> Response:
        """GET /metrics."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)
