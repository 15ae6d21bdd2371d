"""The native plane behind the `Plane` protocol: every call a message, every message of the plane a call."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Mapping, Sequence

from gateway.media.embedded.plane.native import wire
from gateway.media.embedded.plane.native.link import Link
from gateway.media.embedded.plane.native.process import START_TIME, PlaneProcess
from gateway.media.embedded.plane.native.wire import Down, Reader, Up, WireError
from gateway.media.embedded.plane.protocol import PlaneError, PlaneHandler
from gateway.media.embedded.plane.srtp import SrtpKey
from gateway.media.embedded.plane.values import (
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
    host_of,
)

logger = logging.getLogger("gateway.media.plane")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts to start a plane that died; doubled each time."""
ENDS_WITHIN = 1.0
"""Seconds after its connection in which a plane that dies has ended; one that lives on is connected to again."""
ERRORS_LOGGED = 20
_ONE = struct.Struct("!I")
_NOT_WAITED_FOR = frozenset((Down.OPEN_FLOW, Down.CLOSE_FLOW, Down.CLOSE_PORT))
"""What nobody has to see done: the packets of a flow that is yet to be opened stay in its port meanwhile."""


class NativePlane:
    """`Plane`, which says what the methods do, in a process of its own. One that dies is started again, empty."""

    name = "native"
    transcodes = True

    def __init__(self, process: PlaneProcess) -> None:
        self._process = process
        self._handler: PlaneHandler | None = None
        self._link: Link | None = None
        self._over: asyncio.Event = asyncio.Event()
        self._closing = False
        self._restarting: asyncio.Task[None] | None = None
        self._errors = 0
        self._told = self._done = 0
        """Messages so far that packets depend on, and how many of them the plane has done for certain."""

    @property
    def counts_arrivals(self) -> bool:
        return self._process.version >= wire.ARRIVALS

    @property
    def carries_orientation(self) -> bool:
        return self._process.version >= wire.ORIENTATION

    @property
    def process_id(self) -> int | None:
        """Of the plane, where this gateway has started it."""
        return self._process.child

    # Life

    async def start(self, handler: PlaneHandler) -> Inventory:
        self._handler = handler
        self._closing = False
        ran = await self._connect()
        inventory = await self._inventory() if ran else Inventory()
        if self._process.version == wire.VERSION:
            return inventory
        if ran and not inventory.flows:
            await self._replace()
            inventory = Inventory()
        self._tell_version()
        return inventory

    async def _replace(self) -> None:
        """Have an older plane that holds nothing end, and another in its place. Raises PlaneError."""
        try:
            async with asyncio.timeout(START_TIME):
                with self._process.watched() as gone:
                    await self.close()
                    await gone.wait()
        except TimeoutError:
            raise PlaneError("lost", "an older packet plane runs, and does not end") from None
        self._closing = False
        await self._connect()

    def _tell_version(self) -> None:
        """Say what an older plane does not know."""
        if self._process.version < wire.FEEDS:
            logger.warning(
                "the packet plane speaks version %d of its messages, this gateway %d: until another is started, at a "
                "start of the gateway without calls, rooms show no pictures",
                self._process.version,
                wire.VERSION,
            )

    async def _connect(self) -> bool:
        connection, ran = await self._process.connect()
        self._over = asyncio.Event()
        link = Link(self._receive, self._lost)
        self._link = link
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=connection)
        return ran

    async def _clear(self) -> None:
        """The connection was lost, not the plane: what it holds nobody goes on with."""
        for left in (await self._inventory()).ports:
            self.close_port(left.port)

    async def _inventory(self) -> Inventory:
        return wire.inventory(await self._ask(Down.INVENTORY, b""))

    async def close(self) -> None:
        if await self._leave():
            self._send(Down.SHUTDOWN)
            await self._over.wait()
        else:
            self._process.kill()
        await self._process.ended()
        self._link = None

    async def _leave(self) -> bool:
        """Begin to end; whether a plane is there."""
        self._closing = True
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.gather(self._restarting, return_exceptions=True)
            self._restarting = None
        return self._link is not None and not self._over.is_set()

    def _lost(self) -> None:
        self._over.set()
        if not self._closing and self._handler is not None:
            self._link = None
            if self._restarting is not None and not self._restarting.done():
                return  # it tries again by itself, and nobody was told yet that there is a plane
            self._call(self._handler.lost)  # before anybody hears that a request has failed
            self._restarting = asyncio.get_running_loop().create_task(self._restart(self._handler))

    async def _restart(self, handler: PlaneHandler) -> None:
        try:
            async with asyncio.timeout(ENDS_WITHIN):
                reason = await self._process.ended()
        except TimeoutError:
            logger.error("the connection to the packet plane broke; it is made anew, and calls are offered again")
        else:
            logger.error("%s; another is started, and its calls are offered again", reason)
        pause = FIRST_PAUSE
        while True:
            try:
                if await self._connect():
                    await self._clear()
                self._tell_version()
            except (PlaneError, OSError) as error:
                logger.error("the packet plane cannot be started: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._call(handler.restarted)
                return

    def _send(self, kind: int, body: bytes = b"") -> None:
        if self._link is not None:
            self._told += kind not in _NOT_WAITED_FOR
            self._link.send(kind, body)

    async def _ask(self, kind: int, body: bytes) -> Reader:
        if self._link is None:
            raise PlaneError("lost", "there is no packet plane")
        return await self._link.ask(kind, body)

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
        body = struct.pack("!IHIIB", port, number, receive_buffer, send_buffer, len(hosts))
        body += b"".join(wire.address((host_of(host), 0)) for host in hosts)
        body += bytes((len(only_from),)) + b"".join(wire.address((host_of(host), 0)) for host in only_from)
        body += bytes((dscp,))
        return (await self._ask(Down.OPEN_SHARED, body)).bounds()

    async def open_pair(self, port: int, host: str, number: int, *, dscp: int = 0) -> tuple[Bound, Bound]:
        body = _ONE.pack(port) + wire.address((host_of(host), number)) + bytes((dscp,))
        rtp, rtcp = (await self._ask(Down.OPEN_PAIR, body)).bounds()
        return rtp, rtcp

    def close_port(self, port: int) -> None:
        self._send(Down.CLOSE_PORT, _ONE.pack(port))

    # Flows

    def open_flow(self, flow: int, port: int, config: FlowConfig) -> None:
        self._send(Down.OPEN_FLOW, struct.pack("!II", flow, port) + wire.config(config))

    def open_bundled(self, flow: int, carrier: int) -> None:
        self._send(Down.OPEN_BUNDLED, struct.pack("!II", flow, carrier))

    def configure_flow(self, flow: int, config: FlowConfig) -> None:
        self._send(Down.CONFIGURE_FLOW, _ONE.pack(flow) + wire.config(config))

    def close_flow(self, flow: int) -> None:
        self._send(Down.CLOSE_FLOW, _ONE.pack(flow))

    def set_receive_key(self, flow: int, key: SrtpKey, mki: bytes = b"") -> None:
        self._send(Down.SET_RECEIVE_KEY, _ONE.pack(flow) + wire.key(key) + (wire.short(mki) if mki else b""))

    def set_send_key(self, flow: int, key: SrtpKey) -> None:
        self._send(Down.SET_SEND_KEY, _ONE.pack(flow) + wire.key(key))

    def set_rtcp_keys(self, flow: int, receive: SrtpKey, send: SrtpKey) -> None:
        self._send(Down.SET_RTCP_KEYS, _ONE.pack(flow) + wire.key(receive) + wire.short(send.material))

    def drop_keys(self, flow: int) -> None:
        self._send(Down.DROP_KEYS, _ONE.pack(flow))

    # Addresses

    def set_credentials(self, flow: int, credentials: Sequence[tuple[str, str]]) -> None:
        self._send(Down.SET_CREDENTIALS, _ONE.pack(flow) + wire.credentials(credentials))

    def admit_pair(self, flow: int, path: int, source: Address) -> None:
        self._send(Down.ADMIT_PAIR, struct.pack("!IQ", flow, path) + wire.address(source))

    def remove_pair(self, flow: int, path: int, source: Address) -> None:
        self._send(Down.REMOVE_PAIR, struct.pack("!IQ", flow, path) + wire.address(source))

    def select(self, flow: int, path: int, source: Address) -> None:
        self._send(Down.SELECT, struct.pack("!IQ", flow, path) + wire.address(source))

    def expect(self, flow: int, named: Address | None, description: int = 0) -> None:
        self._send(Down.EXPECT, _ONE.pack(flow) + wire.address(named) + _ONE.pack(description))

    def admit_source(self, flow: int, source: Address, datagram: bytes) -> None:
        self._send(Down.ADMIT_SOURCE, _ONE.pack(flow) + wire.address(source) + wire.short(datagram))

    def set_destination(self, flow: int, rtp: Address | None, rtcp: Address | None) -> None:
        self._send(Down.SET_DESTINATION, _ONE.pack(flow) + wire.address(rtp) + wire.address(rtcp))

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
        body = struct.pack("!IIHII?", flow, ssrc, sequence_number, timestamp, clock_rate, ends_frames)
        self._send(Down.START_STREAM, body)

    def route(self, source: int, target: int | None, routes: Mapping[int, Route]) -> None:
        for number, route in routes.items():
            if route.conversion is not None:
                self._send(Down.CONVERT, wire.conversion(source, number, route, route.conversion))
        self._send(Down.ROUTE, _ONE.pack(source) + wire.maybe(target, "I") + wire.routes(routes))

    def feed(self, target: int, source: int | None, types: Mapping[int, Fed]) -> None:
        if self._process.version >= wire.FEEDS:
            self._send(Down.FEED, _ONE.pack(target) + wire.maybe(source, "I") + wire.fed(types))

    def set_open(self, flow: int, value: bool) -> None:
        self._send(Down.SET_OPEN, struct.pack("!I?", flow, value))

    def set_muted(self, flow: int, value: bool) -> None:
        self._send(Down.SET_MUTED, struct.pack("!I?", flow, value))

    def resync(self, flow: int, ssrc: int | None = None) -> None:
        self._send(Down.RESYNC, _ONE.pack(flow) + wire.maybe(ssrc, "I"))

    def inject(
        self, flow: int, payload_type: int, marker: bool, payload: bytes, advance: int | None, *, event: bool = False
    ) -> None:
        head = struct.pack("!IB", flow, wire.second(payload_type, marker))
        self._send(Down.INJECT, head + wire.maybe(advance, "i") + wire.short(payload) + bytes((event,)))

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
        head = struct.pack("!IHIB", source, sequence_number, timestamp, wire.second(payload_type, marker))
        self._send(Down.RELAY, head + wire.maybe(offset, "i") + wire.short(payload))

    def keep(self, flow: int, repeats: Repeats | None) -> None:
        self._send(Down.KEEP, _ONE.pack(flow) + wire.repeats(repeats))

    def resend(self, flow: int, sequence_numbers: Sequence[int]) -> None:
        asked = sequence_numbers[:255]
        self._send(Down.RESEND, struct.pack(f"!IB{len(asked)}H", flow, len(asked), *asked))

    def count_arrivals(self, flow: int, counting: Counting | None) -> None:
        if self.counts_arrivals:
            self._send(Down.COUNT_ARRIVALS, _ONE.pack(flow) + wire.counting(counting))

    def carry_orientation(self, flow: int, identifier: int) -> None:
        if self.carries_orientation:
            self._send(Down.CARRY_ORIENTATION, struct.pack("!IB", flow, identifier))

    def set_silence(self, flow: int, silence: Silence | None) -> None:
        self._send(Down.SET_SILENCE, _ONE.pack(flow) + wire.silence(silence))

    # Out

    def send(self, path: int, address: Address, data: bytes) -> None:
        self._send(Down.SEND, struct.pack("!Q", path) + wire.address(address) + wire.short(data))

    def send_rtcp(self, flow: int, packet: bytes) -> None:
        self._send(Down.SEND_RTCP, _ONE.pack(flow) + wire.short(packet))

    # Figures

    async def snapshot(self, flows: Sequence[int]) -> dict[int, FlowSnapshot]:
        told, is_there = self._told, self._link is not None and not self._over.is_set()
        if not flows and told == self._done and is_there:
            return {}
        body = struct.pack(f"!I{len(flows)}I", len(flows), *flows)
        found = wire.snapshots(await self._ask(Down.SNAPSHOT, body))
        self._done = max(self._done, told)
        return found

    async def counters(self) -> dict[str, int]:
        reader = await self._ask(Down.COUNTERS, b"")
        return {reader.text(): reader.number("Q") for _ in range(reader.number("H"))}

    # What the plane says

    def _receive(self, kind: int, body: bytes) -> None:
        handler = self._handler
        if handler is None or self._closing:
            return
        try:
            self._tell(handler, kind, body)
        except Exception:
            # One message that could not be taken must not end the connection of all calls.
            self._failed()

    def _tell(self, handler: PlaneHandler, kind: int, body: bytes) -> None:
        if kind == Up.MEDIA:
            handler.media(*wire.media(body))
            return
        reader = Reader(body)
        if kind == Up.STUN:
            path, source, now = reader.number("Q"), reader.address(), reader.time()
            handler.stun(path, source, reader.rest(), now)
        elif kind in (Up.DTLS, Up.RTCP, Up.STRANGER):
            flow, path, source, now = reader.number("I"), reader.number("Q"), reader.address(), reader.time()
            if kind == Up.DTLS:
                handler.dtls(flow, path, source, reader.rest(), now)
            elif kind == Up.RTCP:
                handler.rtcp(flow, path, source, reader.rest(), now)
            else:
                heard = reader.time()
                handler.stranger(flow, path, source, reader.rest(), heard, now)
        elif kind == Up.SOURCE_LEARNED:
            flow, source, now = reader.number("I"), reader.address(), reader.time()
            # A plane of version 1 tells no number.
            handler.source_learned(flow, source, reader.number("I") if reader.left else None, now)
        elif kind == Up.RUN_BEGAN:
            handler.run_began(reader.number("I"), reader.number("I"), reader.number("I"), reader.time())
        elif kind == Up.MISSING:
            flow, now = reader.number("I"), reader.time()
            handler.missing(flow, [reader.number("H") for _ in range(reader.number("B"))], now)
        elif kind == Up.FED:
            handler.fed(reader.number("I"), reader.number("I"), reader.time())
        elif kind == Up.IDLE:
            handler.idle(reader.number("I"), reader.time())
        elif kind == Up.REFUSED:
            raise WireError(f"the plane did not understand message {reader.number('B')}: {reader.text()}")

    def _call(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception:
            self._failed()

    def _failed(self) -> None:
        self._errors += 1
        if self._errors <= ERRORS_LOGGED:
            logger.exception("a message of the packet plane met an error of our own")
