"""Traces of calls for an OpenTelemetry collector, where the configuration and what is installed allow them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from gateway.access.gatekeeper import TRUNK
from gateway.app.opening import Opening
from gateway.call.leg import Leg
from gateway.call.registry import Calls
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.legs.web import BrowserLeg
from gateway.media.engine import Kind
from gateway.observe.traces import CallTraces, Side

_PATH = "/v1/traces"
_PACKAGE = "sip-webrtc-gateway"
_MODULE = "opentelemetry.exporter.otlp.proto.http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Where traces go, and of what."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    share: float
    queue: int
    """Spans."""
    numbers: bool
    """Whether spans tell who called whom."""


def tracing(config: Config) -> Tracing | None:
    """What `otel` says; None: nothing is traced."""
    otel = config.otel
    if otel.endpoint is None:
        return None
    return Tracing(
        url=traces_url(otel.endpoint),
        headers=otel.header_fields,
        share=otel.sample,
        queue=otel.queue,
        numbers=config.cdr.wanted,
    )


def check_traces(config: Config, find: Callable[[str], object] = find_spec) -> None:
    """Raises ConfigError where traces are wanted and what sends them is not installed."""
    if config.otel.endpoint is None:
        return
    try:
        found = find(_MODULE)
    except ModuleNotFoundError:  # a package above it
        found = None
    if found is None:
        raise ConfigError("otel.endpoint", f"needs the extra otel: pip install '{_PACKAGE}[otel]'")


def send_traces(opening: Opening, calls: Calls) -> Callable[[], Mapping[str, int]]:
    """Send a trace of every call until the gateway ends; what is returned counts spans. Raises ConfigError."""
    config = opening.config
    wanted = tracing(config)
    check_traces(config)
    if wanted is None:
        return dict
    from gateway.observe.otlp import SpanQueue, http_exporter

    queue = SpanQueue(http_exporter(wanted.url, wanted.headers), _resource(config), wanted.queue)
    traces = CallTraces(
        queue,
        asyncio.get_running_loop().time,
        opening.wall_clock,
        side_of,
        share=wanted.share,
        numbers=wanted.numbers,
    )
    queue.start()
    opening.stack.push_async_callback(asyncio.to_thread, queue.close)
    calls.observe(traces.call_changed)
    return lambda: queue.counts


def traces_url(endpoint: str) -> str:
    """Where traces go of a collector whose base URL, or whole one, is `endpoint`."""
    base = endpoint.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


def side_of(leg: Leg) -> Side:
    """What a leg speaks, and the trunk it goes by."""
    if isinstance(leg, BrowserLeg):
        return Side("webrtc")
    if leg.party.kind is Kind.SERVICE:
        return Side("service")
    identity = leg.identity or ""
    return Side("sip", identity.removeprefix(TRUNK) if identity.startswith(TRUNK) else None)


def _resource(config: Config) -> dict[str, str]:
    try:
        release = version(_PACKAGE)
    except PackageNotFoundError:  # run from a folder
        release = "unknown"
    instance = config.cluster.node or socket.gethostname()
    return {"service.name": "gateway", "service.version": release, "service.instance.id": instance}
