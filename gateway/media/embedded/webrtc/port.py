"""The one UDP port of all browsers: STUN, DTLS and SRTP told apart by the first byte (RFC 7983).

STUN finds its leg by the ufrag in USERNAME; everything else by the address it comes from,
and only an integrity-checked STUN request can put an address into that table. So a
stranger's ClientHello, alert or RTP meets no leg at all, and nothing of it is kept.
Time, randomness and sockets enter the WebRTC side here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.media.embedded.webrtc.certificate import DtlsCertificate
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsContext
from gateway.media.embedded.webrtc.ice import (
    Address,
    IceCredentials,
    Path,
    StunError,
    error_response,
    host_candidate,
    parse_binding_request,
)
from gateway.media.embedded.webrtc.leg import StateHandler, Timer, WebRtcLeg
from gateway.media.engine import MediaError

logger = logging.getLogger("gateway.media.webrtc")

SHORTEST_SRTP = 12
"""Bytes; an SRTCP header with its index, or an RTP header."""
INTERNAL_ERRORS_LOGGED = 20
BINDING_REQUEST = b"\x00\x01"

Schedule = Callable[[float, Callable[[], None]], Timer]
"""Calls back at a time of the port's clock."""


class PortPath(asyncio.DatagramProtocol):
    """One bound socket of the port, and the legs behind the addresses proved on it."""

    __slots__ = ("_clock", "_port", "_socket", "legs", "transport")

    def __init__(self, port: WebRtcPort, bound: socket.socket, clock: Callable[[], float]) -> None:
        self.legs: dict[Address, WebRtcLeg] = {}
        self.transport: asyncio.BaseTransport | None = None
        self._port = port
        self._socket = bound
        self._clock = clock

    def send(self, data: bytes, address: Address) -> bool:
        """Send at once or not at all: late media is worthless, and a queue would have no bound."""
        try:
            self._socket.sendto(data, address)
        except OSError:
            return False
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address | tuple[str | Any, int]) -> None:
        """The packet path: no await, no task, no queue."""
        try:
            if len(data) < SHORTEST_SRTP:
                self._port.count("short")
                return
            first = data[0]
            if 128 <= first <= 191:
                leg = self.legs.get(addr)
                if leg is None:
                    self._port.count("unproved_media")
                else:
                    leg.receive_media(data, self._clock())
            elif first <= 3:
                self._port.receive_stun(data, self, addr, self._clock())
            elif 20 <= first <= 63:
                leg = self.legs.get(addr)
                if leg is None:
                    self._port.count("unproved_dtls")
                else:
                    leg.receive_dtls(data, self._clock())
            else:
                self._port.count("unknown_protocol")
        except Exception:
            # An exception that reached uvloop here would close the port under every call.
            self._port.internal_error()

    def error_received(self, exc: Exception) -> None:
        self._port.count("socket_error")

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None


class ErrorRate:
    """How many STUN errors a source may still draw: a token bucket for each of a bounded number of them."""

    def __init__(self, per_second: float, sources: int) -> None:
        self._per_second = per_second
        self._sources = sources
        self._buckets: dict[str, tuple[float, float]] = {}

    def allow(self, source: str, now: float) -> bool:
        """Take one token of `source`."""
        tokens, then = self._buckets.pop(source, (self._per_second, now))
        tokens = min(self._per_second, tokens + (now - then) * self._per_second)
        allowed = tokens >= 1
        while len(self._buckets) >= self._sources:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[source] = (tokens - 1 if allowed else tokens, now)
        return allowed

    def __len__(self) -> int:
        return len(self._buckets)


class WebRtcPort:
    """The port and its legs. `await start()`, `open_leg` for each browser, `close()`."""

    def __init__(
        self,
        config: WebRtcConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = os.urandom,
        schedule: Schedule | None = None,
        certificate: DtlsCertificate | None = None,
    ) -> None:
        self.config = config or WebRtcConfig()
        self.counters: dict[str, int] = {}
        """Datagrams dropped before they met a leg, by reason."""
        self.clock = clock
        self._random_bytes = random_bytes
        self._schedule = schedule
        self.dtls = DtlsContext(certificate or self._new_certificate(), self.config.srtp_profiles)
        self._paths: list[PortPath] = []
        self._legs_by_path: dict[Path, dict[Address, WebRtcLeg]] = {}
        self._legs: set[WebRtcLeg] = set()
        self._legs_by_ufrag: dict[str, WebRtcLeg] = {}
        self._errors = ErrorRate(self.config.error_responses_per_second, self.config.error_sources)
        self._bound: list[tuple[str, int]] = []

    # Life

    async def start(self) -> None:
        """Bind every listen address; raises MediaError 503 that names the one that would not."""
        loop = asyncio.get_running_loop()
        number = self.config.port
        try:
            for host in self.config.listen:
                bound = _bind(host, number, self.config)
                name = bound.getsockname()
                number = name[1]
                self._bound.append((name[0], name[1]))
                path = self.attach(bound)
                await loop.create_datagram_endpoint(lambda path=path: path, sock=bound)  # type: ignore[misc]  # mypy cannot infer the lambda
        except OSError as error:
            self.close()
            raise MediaError(f"cannot listen on {host} port {number}/udp: {error.strerror or error}", 503) from None

    def attach(self, bound: socket.socket) -> PortPath:
        """Make the path of a socket that is already bound; who reads it feeds `datagram_received`."""
        path = PortPath(self, bound, self.clock)
        self._paths.append(path)
        self._legs_by_path[path] = path.legs
        return path

    def close(self) -> None:
        """Close every leg and socket; idempotent."""
        for leg in list(self._legs):
            leg.close()
        for path in self._paths:
            if path.transport is not None:
                path.transport.close()
        self._paths.clear()
        self._legs_by_path.clear()
        self._bound.clear()

    def open_leg(self, on_state: StateHandler) -> WebRtcLeg:
        """A leg for one peer connection; raises MediaError 503 when there are too many."""
        if len(self._legs) >= self.config.max_legs:
            raise MediaError("no room for another WebRTC leg", 503)
        leg = WebRtcLeg(self, on_state)
        self._legs.add(leg)
        return leg

    # What descriptions say of the port

    @property
    def fingerprints(self) -> tuple[tuple[str, str], ...]:
        """(algorithm, value) for `a=fingerprint`, the same for every leg."""
        return self.dtls.fingerprints

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """The (address, port) pairs that are bound."""
        return tuple(self._bound)

    def candidates(self) -> tuple[str, ...]:
        """Values of `a=candidate` (RFC 8839 section 5.1), best first, without the "candidate:" before them."""
        addresses = [
            (each, self._bound_port()) if isinstance(each, str) else each for each in self.config.advertised
        ] or [(_reachable(host), number) for host, number in self._bound]
        return tuple([host_candidate(index, host, number) for index, (host, number) in enumerate(addresses)])

    def _bound_port(self) -> int:
        return self._bound[0][1] if self._bound else self.config.port

    # STUN

    def receive_stun(self, data: bytes, path: Path, source: Address, now: float) -> None:
        """Answer a check for one of our legs; a stranger gets silence, a wrong password a few 401."""
        if data[:2] != BINDING_REQUEST:
            self.count("stun_not_request")
            return
        try:
            request = parse_binding_request(data, self.config.max_stun_bytes)
        except StunError:
            self.count("stun_malformed")
            return
        ufrag = request.local_ufrag
        leg = None if ufrag is None else self._legs_by_ufrag.get(ufrag)
        key = None if leg is None or ufrag is None else leg.key_for(ufrag)
        if leg is None or key is None:
            self.count("stun_unknown_ufrag")
            return
        if not request.authentic(key):
            self.count("stun_bad_integrity")
            self._refuse(error_response(request, 401 if request.signed else 400), len(data), path, source, now)
            return
        leg.receive_check(request, key, path, source, now)

    def _refuse(self, response: bytes, request_length: int, path: Path, source: Address, now: float) -> None:
        # Never more bytes out than came in: the source may be forged.
        if len(response) <= request_length and self._errors.allow(source[0], now):
            path.send(response, source)

    # What legs ask of their port (LegHost)

    def new_credentials(self, leg: WebRtcLeg) -> IceCredentials:
        """Draw credentials whose ufrag nobody uses, and route its checks to `leg`."""
        while True:
            credentials = IceCredentials.generate(self._random_bytes)
            if credentials.ufrag not in self._legs_by_ufrag:
                self._legs_by_ufrag[credentials.ufrag] = leg
                return credentials

    def forget_ufrag(self, ufrag: str) -> None:
        """Stop answering checks for `ufrag`."""
        self._legs_by_ufrag.pop(ufrag, None)

    def claim_address(self, leg: WebRtcLeg, path: Path, address: Address, now: float) -> bool:
        """Route `address` to `leg`; False while another leg hears checks from there."""
        legs = self._legs_by_path[path]
        holder = legs.get(address)
        if holder is leg:
            return True
        if holder is not None:
            heard = holder.last_heard_from(path, address)
            if heard is not None and now - heard < self.config.address_hold:
                return False
            holder.lose_address(path, address)
        legs[address] = leg
        return True

    def release_address(self, leg: WebRtcLeg, path: Path, address: Address) -> None:
        """Packets from `address` meet nobody from now on."""
        legs = self._legs_by_path[path]
        if legs.get(address) is leg:
            del legs[address]

    def forget_leg(self, leg: WebRtcLeg) -> None:
        """The leg has closed."""
        self._legs.discard(leg)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back when the clock shows `when`."""
        if self._schedule is not None:
            return self._schedule(when, callback)
        # Event loops round to milliseconds; a millisecond more and the deadline has passed for certain.
        return asyncio.get_running_loop().call_later(max(0.0, when - self.clock()) + 0.001, callback)

    # Accounting

    def count(self, reason: str) -> None:
        """Count one dropped datagram."""
        self.counters[reason] = self.counters.get(reason, 0) + 1

    def internal_error(self) -> None:
        """Log the exception being handled, a bounded number of times; the port lives on."""
        self.count("internal_error")
        if self.counters["internal_error"] <= INTERNAL_ERRORS_LOGGED:
            logger.exception("a packet met an error of our own")

    @property
    def table_sizes(self) -> dict[str, int]:
        """Entries in each table, for metrics and tests."""
        return {
            "legs": len(self._legs),
            "ufrags": len(self._legs_by_ufrag),
            "addresses": sum(len(path.legs) for path in self._paths),
            "error_sources": len(self._errors),
        }

    def _new_certificate(self) -> DtlsCertificate:
        return DtlsCertificate.generate(
            datetime.now(UTC), timedelta(days=self.config.certificate_days), self._random_bytes(8).hex()
        )


def _bind(host: str, port: int, config: WebRtcConfig) -> socket.socket:
    """A non-blocking UDP socket on an IP address; raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, config.receive_buffer)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, config.send_buffer)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _reachable(host: str) -> str:
    """`host`, or for a wildcard the address this machine would send from, loopback when it has no route."""
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return host
    family, far, near = (
        (socket.AF_INET6, "2001:db8::1", "::1") if address.version == 6 else (socket.AF_INET, "192.0.2.1", "127.0.0.1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing; it only asks the routing table.
            probe.connect((far, 9))
        except OSError:
            return near
        found: str = probe.getsockname()[0]
        return found
