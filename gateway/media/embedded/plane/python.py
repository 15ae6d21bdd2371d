"""The packet plane in this process: sockets read by the event loop, every packet done when its call returns.

The loop comes in as a `Reactor`, time as a function, so nothing here knows asyncio or reads a clock.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from gateway.media.embedded.plane.agenda import Agenda, Reactor
from gateway.media.embedded.plane.arrivals import Arrivals
from gateway.media.embedded.plane.bundled import BundledFlow
from gateway.media.embedded.plane.feeding import MAX_FEEDS, Feeds, Source
from gateway.media.embedded.plane.flow import Flow
from gateway.media.embedded.plane.kept import Kept, resend
from gateway.media.embedded.plane.limits import STRANGERS, PuntLimit
from gateway.media.embedded.plane.pair import PairFlow, PairPort
from gateway.media.embedded.plane.protocol import PlaneError, PlaneHandler
from gateway.media.embedded.plane.routes import EMPTY, RouteTable
from gateway.media.embedded.plane.shared import SharedFlow, SharedPath, SharedPort
from gateway.media.embedded.plane.sockets import bind, bind_pair
from gateway.media.embedded.plane.srtp import SrtpKey
from gateway.media.embedded.plane.values import (
    NEVER,
    Address,
    Bound,
    Counting,
    Fed,
    FlowConfig,
    FlowSnapshot,
    Inventory,
    Repeats,
    Route,
    Silence,
)

logger = logging.getLogger("gateway.media.plane")

INTERNAL_ERRORS_LOGGED = 20
MAX_BUNDLED = 8
"""Flows that may share one transport beside its own."""
_SPREAD = 0.618033988749895
"""Golden section: multiples of it, less their whole parts, lie far from each other."""


class PythonPlane:
    """`plane.protocol.Plane` in this process."""

    name = "python"
    transcodes = False
    counts_arrivals = carries_orientation = True
    handler: PlaneHandler

    def __init__(
        self,
        reactor: Reactor,
        clock: Callable[[], float],
        *,
        bind: Callable[..., Any] = bind,
        bind_pair: Callable[..., Any] = bind_pair,
    ) -> None:
        """`clock` gives monotonic seconds; the binders are inputs so that tests can do without sockets."""
        self.clock = clock
        self._reactor = reactor
        self._bind, self._bind_pair = bind, bind_pair
        self.strangers, self.admitted = PuntLimit(STRANGERS), PuntLimit(inf)
        self._counters: dict[str, int] = {}
        self._ports: dict[int, SharedPort | PairPort] = {}
        self._flows: dict[int, Flow] = {}
        self._owner: dict[int, int] = {}
        self._paths: dict[int, SharedPath | PairPort] = {}
        self._numbers = itertools.count(1)
        self._agenda = Agenda(reactor, clock)
        self._silences: set[int] = set()
        self._idles: dict[int, float] = {}
        self._feeds = Feeds()
        self._repeated: dict[int, tuple[int, int]] = {}
        """Source and next number of the retransmissions of flows, when they were last changed."""

    async def start(self, handler: PlaneHandler) -> Inventory:
        self.handler = handler
        return Inventory()

    async def close(self) -> None:
        for port in tuple(self._ports):
            self.close_port(port)
        self._forget_due()

    # Ports

    async def open_shared(
        self,
        port: int,
        hosts: Sequence[str],
        number: int,
        *,
        receive_buffer: int,
        send_buffer: int,
        only_from: Sequence[str] = (),
        dscp: int = 0,
    ) -> tuple[Bound, ...]:
        allowed = frozenset(only_from)
        paths: list[SharedPath] = []
        try:
            for host in hosts:
                bound = self._bind(host, number, receive_buffer=receive_buffer, send_buffer=send_buffer, dscp=dscp)
                path = SharedPath(bound, next(self._numbers), self, allowed)
                paths.append(path)
                number = path.bound.address[1]
        except PlaneError:
            for path in paths:
                path.socket.close()
            raise
        opened = SharedPort(paths)
        self._paths.update({path.number: path for path in paths})
        self._open(port, opened)
        return opened.bounds

    async def open_pair(self, port: int, host: str, number: int, *, dscp: int = 0) -> tuple[Bound, Bound]:
        rtp, rtcp = self._bind_pair(host, number, dscp)
        opened = PairPort(rtp, rtcp, (next(self._numbers), next(self._numbers)))
        self._paths.update({bound.path: opened for bound in opened.bounds})
        self._open(port, opened)
        return opened.rtp_bound, opened.rtcp_bound

    def _open(self, port: int, opened: SharedPort | PairPort) -> None:
        self._ports[port] = opened
        for bound, reader in opened.readers(self.clock, self.internal_error):
            self._reactor.add_reader(bound, reader)

    def close_port(self, port: int) -> None:
        closed = self._ports.pop(port, None)
        if closed is None:
            return
        for flow in closed.flows:
            self.close_flow(flow.number)
        for bound, _ in closed.readers(self.clock, self.internal_error):
            self._reactor.remove_reader(bound)
        for each in closed.bounds:
            self._paths.pop(each.path, None)
        closed.close()

    # Flows

    def open_flow(self, flow: int, port: int, config: FlowConfig) -> None:
        owner = self._ports.get(port)
        if isinstance(owner, SharedPort):
            shared = SharedFlow(flow, config, self)
            owner.members.add(shared)
            self._flows[flow] = shared
        elif isinstance(owner, PairPort) and owner.flow is None:
            owner.flow = PairFlow(flow, config, self, owner)
            self._flows[flow] = owner.flow
        else:
            self.count("unknown_port")
            return
        self._owner[flow] = port
        self._watch(self._flows[flow])

    def open_bundled(self, flow: int, carrier: int) -> None:
        found = self._shared(carrier)
        if found is None or flow in self._flows or len(found.bundled) >= MAX_BUNDLED:
            self.count("unknown_flow")
            return
        self._flows[flow] = BundledFlow(flow, self, found)
        self._owner[flow] = self._owner[carrier]

    def configure_flow(self, flow: int, config: FlowConfig) -> None:
        found = self._flow(flow)
        if found is not None:
            found.configure(config)
            self._watch(found)

    def close_flow(self, flow: int) -> None:
        closed = self._flows.pop(flow, None)
        if closed is None:
            return
        self._repeated.pop(flow, None)
        self._feeds.starve(flow)
        self._feeds.forget(closed)
        for each in closed.bundled:
            self.close_flow(each.number)
        owner = self._ports.get(self._owner.pop(flow))
        if isinstance(closed, SharedFlow) and isinstance(owner, SharedPort):
            owner.forget(closed)
        elif isinstance(owner, PairPort):
            owner.flow = None
        closed.close()
        if not self._flows:
            self._forget_due()

    def set_receive_key(self, flow: int, key: SrtpKey, mki: bytes = b"") -> None:
        if (found := self._flow(flow)) is not None:
            found.set_receive_key(key, mki)

    def set_send_key(self, flow: int, key: SrtpKey) -> None:
        if (found := self._flow(flow)) is not None:
            found.set_send_key(key)

    def set_rtcp_keys(self, flow: int, receive: SrtpKey, send: SrtpKey) -> None:
        if (found := self._pair(flow)) is not None:
            found.set_rtcp_keys(receive, send)

    def drop_keys(self, flow: int) -> None:
        if (found := self._flow(flow)) is not None:
            found.drop_keys()

    # Addresses

    def set_credentials(self, flow: int, credentials: Sequence[tuple[str, str]]) -> None:
        if (found := self._shared(flow)) is not None:
            found.set_credentials(credentials)

    def admit_pair(self, flow: int, path: int, source: Address) -> None:
        found, where = self._shared(flow), self._paths.get(path)
        if found is None or not isinstance(where, SharedPath):
            return
        holder = where.flows.get(source)
        if holder is not None and holder is not found:
            holder.forget(path, source)
        where.flows[source] = found
        found.pairs[path, source] = found.heard = self.clock()

    def remove_pair(self, flow: int, path: int, source: Address) -> None:
        found, where = self._shared(flow), self._paths.get(path)
        if found is None or not isinstance(where, SharedPath):
            return
        if where.flows.get(source) is found:
            del where.flows[source]
        found.forget(path, source)

    def select(self, flow: int, path: int, source: Address) -> None:
        found, where = self._shared(flow), self._paths.get(path)
        if found is not None and isinstance(where, SharedPath):
            found.select(where, source)

    def expect(self, flow: int, named: Address | None, description: int = 0) -> None:
        if (found := self._pair(flow)) is not None:
            found.expect(named, description)

    def admit_source(self, flow: int, source: Address, datagram: bytes) -> None:
        if (found := self._pair(flow)) is not None:
            found.admit_source(source, datagram, self.clock())

    def set_destination(self, flow: int, rtp: Address | None, rtcp: Address | None) -> None:
        if (found := self._pair(flow)) is not None:
            found.set_destination(rtp, rtcp)

    # Streams

    def start_stream(
        self,
        flow: int,
        ssrc: int,
        sequence_number: int,
        timestamp: int,
        clock_rate: int,
        *,
        ends_frames: bool = False,
    ) -> None:
        found, carrier = self._flow(flow), self._carrier(flow)
        if carrier is not None and not carrier.claim(ssrc, flow):
            self.count("unknown_flow")
        elif found is not None:
            found.start_stream(ssrc, sequence_number, timestamp, clock_rate, ends_frames=ends_frames)

    def route(self, source: int, target: int | None, routes: Mapping[int, Route]) -> None:
        if (found := self._flow(source)) is not None:
            fed = self._flows.get(target) if target is not None else None
            if fed is not None:
                self._feeds.starve(fed.number)
            found.route(fed, RouteTable.of(routes))

    def feed(self, target: int, source: int | None, types: Mapping[int, Fed]) -> None:
        if (fed := self._flow(target)) is None:
            return
        feeder = self._flow(source) if source is not None else None
        known = feeder is not None and any(feed.target is fed for feed in feeder.feeds)
        if feeder is None or (len(feeder.feeds) >= MAX_FEEDS and not known):
            self._feeds.starve(target)
            if feeder is not None:
                self.count("unknown_flow")
            return
        if fed.routed_by is not None and fed.routed_by is not fed:
            fed.routed_by.route(None, EMPTY)
        if self._feeds.feed(fed, feeder, types):
            self.handler.fed(target, feeder.number, self.clock())

    def fed(self, target: int, source: Source, now: float) -> None:
        """The key frame of `source` has come, with which it begins to feed the stream of `target`."""
        self._feeds.began(target, source)
        self.handler.fed(target, source.number, now)

    def set_open(self, flow: int, value: bool) -> None:
        if (found := self._flow(flow)) is not None:
            found.set_open(value)

    def set_muted(self, flow: int, value: bool) -> None:
        if (found := self._flow(flow)) is not None:
            found.set_muted(value)

    def resync(self, flow: int, ssrc: int | None = None) -> None:
        if (found := self._flow(flow)) is not None:
            found.inbound.expect_new_source(self.clock(), ssrc)

    def inject(
        self, flow: int, payload_type: int, marker: bool, payload: bytes, advance: int | None, *, event: bool = False
    ) -> None:
        if (found := self._flow(flow)) is not None:
            second = payload_type | (0x80 if marker else 0)
            found.inject(second, payload, advance, self.clock(), event=event)

    def relay(
        self,
        source: int,
        sequence_number: int,
        timestamp: int,
        payload_type: int,
        marker: bool,
        payload: bytes,
        offset: int | None = None,
    ) -> None:
        if (found := self._flow(source)) is not None:
            second = payload_type | (0x80 if marker else 0)
            found.relay(sequence_number, timestamp, second, payload, offset, self.clock())

    def keep(self, flow: int, repeats: Repeats | None) -> None:
        found, carrier = self._flow(flow), self._carrier(flow)
        if repeats is not None and carrier is not None and not carrier.claim(repeats.ssrc, flow):
            self.count("unknown_flow")
        elif found is not None:
            if found.kept is not None:
                self._repeated[flow] = found.kept.numbers
            found.kept = Kept(repeats) if repeats is not None else None
            if found.kept is not None and flow in self._repeated:
                found.kept.follow(self._repeated[flow])

    def resend(self, flow: int, sequence_numbers: Sequence[int]) -> None:
        found = self._flow(flow)
        missing = resend(found, sequence_numbers, self.clock()) if found is not None else []
        if missing:
            self._reactor.call_later(0.0, lambda: self.handler.missing(flow, missing, self.clock()))

    def count_arrivals(self, flow: int, counting: Counting | None) -> None:
        found, carrier = self._flow(flow), self._carrier(flow)
        if counting is not None and carrier is not None and not carrier.owns(_sender(counting.head), flow):
            self.count("unknown_flow")
        elif found is not None and found.arrivals is not None and counting is not None:
            found.arrivals.counting = counting
        elif found is not None:
            found.arrivals = Arrivals(counting) if counting is not None else None

    def carry_orientation(self, flow: int, identifier: int) -> None:
        if (found := self._flow(flow)) is not None:
            found.orientation = identifier

    def expect_telling(self, flow: int, arrivals: Arrivals) -> None:
        """The peer of a flow is to be told of the arrival of its packets, when that is due."""

        def tell(due: float, now: float) -> None:
            found = self._flows.get(flow)
            for packet in arrivals.tell(now) if found is not None and found.arrivals is arrivals else ():
                self.send_rtcp(flow, packet)

        if arrivals.due is not None:
            self._agenda.at(arrivals.due, tell)

    def set_silence(self, flow: int, silence: Silence | None) -> None:
        found = self._flow(flow)
        if found is None or found.silence == silence:
            return
        if found.silence is None:
            found.quiet_since = self.clock()
        found.silence = silence
        if silence is not None and flow not in self._silences:
            self._silences.add(flow)
            # Every flow has a phase of its own: a thousand held calls are no burst.
            phase = flow * _SPREAD % 1.0 * silence.interval
            self._agenda.at(self.clock() + silence.after + phase, lambda due, now: self._play_silence(flow, due, now))

    # Out

    def send(self, path: int, address: Address, data: bytes) -> None:
        where = self._paths.get(path)
        sent = where.send(data, address) if isinstance(where, SharedPath) else where and where.send(path, data, address)
        if not sent:
            self.count("unsent")

    def send_rtcp(self, flow: int, packet: bytes) -> None:
        found, carrier = self._flow(flow), self._carrier(flow)
        if carrier is not None and not carrier.owns(_sender(packet), flow):
            self.count("unknown_flow")
        elif found is not None:
            found.send_rtcp(packet)

    # Figures

    async def snapshot(self, flows: Sequence[int]) -> dict[int, FlowSnapshot]:
        now = self.clock()
        return {number: self._flows[number].snapshot(now) for number in flows if number in self._flows}

    async def counters(self) -> dict[str, int]:
        return dict(self._counters)

    def count(self, reason: str) -> None:
        """Count one datagram that met no flow."""
        self._counters[reason] = self._counters.get(reason, 0) + 1

    def internal_error(self) -> None:
        """Log the exception being handled, a bounded number of times; the plane lives on."""
        self.count("internal_error")
        if self._counters["internal_error"] <= INTERNAL_ERRORS_LOGGED:
            logger.exception("a packet met an error of our own")

    def _flow(self, number: int) -> Flow | None:
        flow = self._flows.get(number)
        if flow is None:
            self.count("unknown_flow")
        return flow

    def _carrier(self, number: int) -> SharedFlow | None:
        """Whose keys the flow sends under, on a shared port."""
        flow = self._flows.get(number)
        carrier = flow.carrier if isinstance(flow, BundledFlow) else flow
        return carrier if isinstance(carrier, SharedFlow) else None

    def _shared(self, number: int) -> SharedFlow | None:
        flow = self._flow(number)
        return flow if isinstance(flow, SharedFlow) else None

    def _pair(self, number: int) -> PairFlow | None:
        flow = self._flow(number)
        return flow if isinstance(flow, PairFlow) else None

    # Timers

    def _play_silence(self, number: int, due: float, now: float) -> float | None:
        """Send one packet of silence if nothing else went out; when to look again."""
        flow = self._flows.get(number)
        silence, stream = (flow.silence, flow.stream) if flow is not None else (None, None)
        if flow is None or silence is None or stream is None:
            self._silences.discard(number)
            return None
        going = stream.last_sent == flow.silent_at
        quiet_since = max(stream.quiet_since(now), flow.quiet_since)
        if not going and now < quiet_since + silence.after:
            return quiet_since + silence.after
        if flow.muted or not flow.ready:
            flow.silent_at = NEVER
            return now + silence.interval
        full_rate = round(silence.interval * stream.rate_out) == silence.ticks
        advance = silence.ticks if going and full_rate else None
        if flow.inject(silence.payload_type | 0x80 * (not going), silence.payload, advance, now):
            flow.silent_at = stream.last_sent
        # On a grid that does not drift, unless the loop stood still.
        return due + silence.interval if now - due < 5 * silence.interval else now + silence.interval

    def _watch(self, flow: Flow) -> None:
        """Have the flow's idleness looked after, from now on."""
        number, flow.since = flow.number, self.clock()
        look = flow.since + flow.config.idle_after
        if flow.config.idle_after and look < self._idles.get(number, inf):
            self._idles[number] = look
            self._agenda.at(look, lambda due, now: self._look_idle(number, due, now))

    def _look_idle(self, number: int, due: float, now: float) -> float | None:
        """Tell once that nothing is heard; when to look again."""
        if self._idles.get(number) != due:
            return None
        flow = self._flows.get(number)
        if flow is None or not flow.config.idle_after:
            del self._idles[number]
            return None
        last = max(flow.heard, flow.since)
        if now >= last + flow.config.idle_after and flow.idle_told != last:
            flow.idle_told = last
            try:
                self.handler.idle(number, now - last)
            except Exception:
                self.internal_error()
            last = max(flow.heard, flow.since)
        look = self._idles[number] = max(last + flow.config.idle_after, now + min(1.0, flow.config.idle_after))
        return look

    def _forget_due(self) -> None:
        """Nothing is due any more."""
        self._agenda.clear()
        self._silences.clear()
        self._idles.clear()


def _sender(packet: bytes) -> int:
    """Whose report it is."""
    return int.from_bytes(packet[4:8], "big")
