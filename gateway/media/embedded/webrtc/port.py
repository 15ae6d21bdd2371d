"""The one UDP port of all browsers, as signalling and ICE see it; its packets are the plane's.

STUN finds its leg by the ufrag in USERNAME; everything else finds its flow in the plane by the address it
comes from, and only an integrity-checked STUN request can have an address admitted there.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from gateway.media.embedded.addresses import is_loopback, own_addresses, reachable
from gateway.media.embedded.plane.protocol import Plane, PlaneError
from gateway.media.embedded.plane.stun import BINDING_SUCCESS, StunError, error_response, parse_binding_request
from gateway.media.embedded.plane.values import Address, Bound, FlowConfig, Host, PortState
from gateway.media.embedded.webrtc.alarm import Timer
from gateway.media.embedded.webrtc.certificate import DtlsCertificate, keep
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsContext
from gateway.media.embedded.webrtc.gathering import Gathering
from gateway.media.embedded.webrtc.ice import IceCredentials, Left, host_candidate
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.states import StateHandler
from gateway.media.embedded.webrtc.stun import Check, parse
from gateway.media.embedded.webrtc.tcp import TcpListener, tcp_candidate
from gateway.media.embedded.webrtc.tunnel import Tunnel, inside
from gateway.media.engine import WHEN_FULL, MediaError, PortTakenError
from sdp import IceParameters, TransportPlan
from sdp.attributes import Fingerprint, SetupRole

_BINDING_SUCCESS = BINDING_SUCCESS.to_bytes(2)
PEER_REFLEXIVE = (110 << 24) + (65_535 << 8) + 255
"""PRIORITY of checks (RFC 8445 section 7.1.1)."""

Schedule = Callable[[float, Callable[[], None]], Timer]
"""Calls back at a time of the port's clock."""


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
        plane: Plane,
        ids: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = os.urandom,
        schedule: Schedule | None = None,
        certificate: DtlsCertificate | None = None,
    ) -> None:
        """`ids` numbers ports and flows of the plane."""
        self.config = config or WebRtcConfig()
        self.plane = plane
        self.counters: dict[str, int] = {}
        """STUN messages dropped before they met a leg, by reason."""
        self.clock = clock
        self._random_bytes = random_bytes
        self._schedule = schedule
        self._certificate = certificate or self._new_certificate()
        self._kept: tuple[DtlsCertificate, ...] = ()
        self.dtls = DtlsContext(self._certificate, self.config.srtp_profiles)
        self._ids = ids
        self._port = ids()
        self._legs: set[WebRtcLeg] = set()
        self._legs_by_ufrag: dict[str, WebRtcLeg] = {}
        self._checking: dict[bytes, WebRtcLeg] = {}
        """Legs that wait for the response to a check, by its transaction id."""
        self._holders: dict[tuple[int, Address], WebRtcLeg] = {}
        self._errors = ErrorRate(self.config.error_responses_per_second, self.config.error_sources)
        self._bound: tuple[Bound, ...] = ()
        self._tcp = TcpListener(self)
        self._tunnels: dict[Address, Tunnel] = {}
        self._gathering: Gathering | None = None

    # Life

    async def start(self) -> None:
        """Bind every listen address; raises MediaError 503 that names the one that would not.

        Where only loopback is configured, the machine's own addresses are bound as well, and heard from this
        machine alone: a browser that refuses loopback candidates still finds its way.
        """
        listen = tuple(self.config.listen)
        own: tuple[str, ...] = ()
        if self.config.own_addresses and not self.config.advertised and all(is_loopback(host) for host in listen):
            own = own_addresses()
        if own:
            try:
                await self._open((*listen, *own), (*own, "127.0.0.1", "::1"))
            except PlaneError:
                # Somebody else has the port there; loopback alone will have to do.
                own = ()
        if not own:
            try:
                await self._open(listen, ())
            except PlaneError as error:
                kind = PortTakenError if error.code == "busy" else MediaError
                raise kind(f"cannot listen on {error}", 503) from None

    async def _open(self, hosts: tuple[str, ...], only_from: tuple[str, ...]) -> None:
        config = self.config
        self._bound = await self.plane.open_shared(
            self._port,
            hosts,
            config.port,
            receive_buffer=config.receive_buffer,
            send_buffer=config.send_buffer,
            only_from=only_from,
            dscp=config.dscp,
        )

    async def gather(self) -> None:
        """Open what there is beside our UDP sockets, after `start` or `take_over`, and ask STUN and TURN servers.

        Raises MediaError 503 for an address that cannot be listened on.
        """
        self._tcp.close()
        await self.stop_gathering()
        if self.config.tcp:
            number = self._bound[0].address[1]
            await self._tcp.start([(host, number) for host in self.config.listen])
        if self.config.full_ice:
            config = self.config
            self._gathering = Gathering(self, config.ice_servers, idle_after=config.liveness_timeout, ca=config.ice_ca)
            await self._gathering.start()

    async def stop_gathering(self) -> None:
        """Give relays back; idempotent."""
        gathering, self._gathering = self._gathering, None
        if gathering is not None:
            await gathering.close()

    def take_over(self, left: PortState) -> bool:
        """Use a port that the plane holds already, in place of `start`; False where other addresses are wanted."""
        hosts, numbers = ({bound.address[place] for bound in left.bounds} for place in (0, 1))
        wanted = {str(ip_address(host)) for host in self.config.listen}
        if not left.bounds or not wanted <= hosts or (self.config.port and {self.config.port} != numbers):
            return False
        self._port, self._bound = left.port, left.bounds
        return True

    def renew(self) -> None:
        """Legs that are opened from now on show another certificate; the port is to be bound again by `start`."""
        self._certificate, self._kept = self._new_certificate(), ()
        self.dtls = DtlsContext(self._certificate, self.config.srtp_profiles)

    def inherit(self, kept: tuple[DtlsCertificate, ...]) -> None:
        """Show these certificates where an association began with them, of calls that the plane holds."""
        self._kept = kept
        self.dtls = DtlsContext(self._certificate, self.config.srtp_profiles, kept)

    def keep_certificates(self) -> None:
        """Leave the next process on this plane the certificates that peers know. Blocks."""
        keep((self._certificate, *self._kept), self.config.certificate_file)

    def close(self) -> None:
        """Close every leg and socket; idempotent."""
        for leg in list(self._legs):
            leg.close()
        self._tcp.close()
        self.plane.close_port(self._port)
        self._bound = ()

    def open_leg(self, on_state: StateHandler, left: Left | None = None) -> WebRtcLeg:
        """A leg for one peer connection, or the one that the plane holds; MediaError 503 when there are too many."""
        if len(self._legs) >= self.config.max_legs:
            limit = f"webrtc.max_browsers ({self.config.max_legs})"
            raise MediaError("no room for another WebRTC leg", 503, limit=limit, retry_after=WHEN_FULL)
        leg = WebRtcLeg(self, on_state, left)
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
        return tuple([bound.address for bound in self._bound])

    def candidates(self) -> tuple[str, ...]:
        """Values of `a=candidate` (RFC 8839 section 5.1), best first, without the "candidate:" before them."""
        advertised = self._advertised()
        lines = [host_candidate(index, *address) for index, address in enumerate(advertised)]
        if self.config.tcp:
            lines += [tcp_candidate(index, *address) for index, address in enumerate(advertised)]
        if self._gathering is not None:
            lines += self._gathering.candidates(advertised)
        return tuple(lines)

    def _advertised(self) -> list[tuple[str, int]]:
        number = self._bound[0].address[1] if self._bound else self.config.port
        named = [(each, number) if isinstance(each, str) else each for each in self.config.advertised]
        return named or [(reachable(host), number) for host, number in self.addresses]

    def transport_plan(self, credentials: IceCredentials) -> TransportPlan:
        """What a description for the browser says of us."""
        address, port = self._advertised()[0]
        return TransportPlan(
            address=address,
            port=port,
            rtcp_mux=True,
            ice=IceParameters(
                credentials.ufrag,
                credentials.password,
                self.candidates(),
                lite=not self.config.full_ice,
                options=("trickle",),
            ),
            fingerprints=tuple([Fingerprint(algorithm, digest) for algorithm, digest in self.fingerprints]),
            setup=SetupRole.PASSIVE,
        )

    # STUN

    def stun(self, path: int, source: Address, data: bytes, now: float) -> None:
        """Answer a check for one of our legs; a stranger gets silence, a wrong password a few 401."""
        if data[:2] == _BINDING_SUCCESS:
            self._response(path, source, data, now)
            return
        try:
            request = parse_binding_request(data, self.config.max_stun_bytes)
        except StunError:
            self.count("stun_malformed")
            return
        ufrag = request.local_ufrag or ""
        leg, key = self._legs_by_ufrag.get(ufrag), self.key_of(ufrag)
        if leg is None or key is None:
            self.count("stun_unknown_ufrag")
            return
        if not request.authentic(key):
            self.count("stun_bad_integrity")
            self._refuse(error_response(request, 401 if request.signed else 400), len(data), path, source, now)
            return
        leg.receive_check(request, key, path, source, now)

    def _response(self, path: int, source: Address, data: bytes, now: float) -> None:
        leg = self._checking.pop(data[8:20], None)
        if leg is not None:
            with suppress(StunError):
                leg.receive_response(parse(data), path, source, now)
        elif self._gathering is None or not self._gathering.response(data):
            # Of a check as the controlled agent: the peer's own checks prove the same.
            self.count("stun_response")

    def _refuse(self, response: bytes, request_length: int, path: int, source: Address, now: float) -> None:
        # Never more bytes out than came in: the source may be forged.
        if len(response) <= request_length and self._errors.allow(source[0], now):
            self.plane.send(path, source, response)

    # What a full agent sends

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The sockets, by their paths."""
        return self._bound

    def send(self, path: int, address: Address, data: bytes) -> None:
        """One datagram as it is."""
        self.plane.send(path, address, data)

    def permit(self, host: Host) -> None:
        """Let this address reach us by the relays."""
        if self._gathering is not None:
            self._gathering.permit(host)

    def send_check(
        self, leg: WebRtcLeg, address: Address, check: Check, path: int | None = None
    ) -> list[tuple[bytes, int]]:
        """Send a check to this address from one socket, or from every one of its IP version."""
        there = ip_address(address[0])
        sent = []
        for bound in self._bound:
            here = ip_address(bound.address[0])
            if bound.path == path or (
                path is None and here.version == there.version and here.is_loopback == there.is_loopback
            ):
                transaction_id = self._random_bytes(12)
                self.plane.send(bound.path, address, check.write(transaction_id, PEER_REFLEXIVE))
                sent.append((transaction_id, bound.path))
                if check.controls:
                    self._checking[transaction_id] = leg
        return sent

    def forget_checks(self, transactions: Iterable[bytes]) -> None:
        """Nobody waits for these responses any more."""
        for each in transactions:
            self._checking.pop(each, None)

    # What legs ask of their port (LegHost)

    def open_flow(self, leg: WebRtcLeg, config: FlowConfig) -> int:
        """A flow of the plane on this port."""
        flow = self._ids()
        self.plane.open_flow(flow, self._port, config)
        return flow

    def new_credentials(self, leg: WebRtcLeg) -> IceCredentials:
        """Draw credentials whose ufrag nobody uses, and route its checks to `leg`."""
        while True:
            credentials = IceCredentials.generate(self._random_bytes)
            if credentials.ufrag not in self._legs_by_ufrag:
                self._legs_by_ufrag[credentials.ufrag] = leg
                return credentials

    def take_credentials(self, leg: WebRtcLeg, credentials: IceCredentials) -> None:
        """Route checks that name them to `leg`."""
        self._legs_by_ufrag[credentials.ufrag] = leg

    def forget_ufrag(self, ufrag: str) -> None:
        """Stop answering checks for `ufrag`."""
        self._legs_by_ufrag.pop(ufrag, None)

    def claim_address(self, leg: WebRtcLeg, path: int, address: Address, now: float) -> bool:
        """Make `address` the leg's; False while another leg hears checks from there."""
        holder = self._holders.get((path, address))
        if holder is leg:
            return True
        if holder is not None:
            heard = holder.last_heard_from(path, address)
            if heard is not None and now - heard < self.config.address_hold:
                return False
            holder.lose_address(path, address)
        self._holders[path, address] = leg
        return True

    def release_address(self, leg: WebRtcLeg, path: int, address: Address) -> None:
        """The address is nobody's from now on."""
        if self._holders.get((path, address)) is leg:
            del self._holders[path, address]

    def forget_leg(self, leg: WebRtcLeg) -> None:
        """The leg has closed."""
        self._legs.discard(leg)
        self.plane.close_flow(leg.flow)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back when the clock shows `when`."""
        if self._schedule is not None:
            return self._schedule(when, callback)
        # Event loops round to milliseconds; a millisecond more and the deadline has passed for certain.
        return asyncio.get_running_loop().call_later(max(0.0, when - self.clock()) + 0.001, callback)

    # What carries packets by other ways asks (TcpHost)

    def key_of(self, ufrag: str) -> bytes | None:
        """The integrity key behind one of our ufrags."""
        leg = self._legs_by_ufrag.get(ufrag)
        return None if leg is None else leg.key_for(ufrag)

    def open_tunnel(self, family: int, remote: Address, deliver: Callable[[bytes], None]) -> Tunnel:
        """A way to the plane for a far end, on a socket of this IP version where there is one; raises OSError."""
        same = [each.address for each in self._bound if ip_address(each.address[0]).version == family]
        tunnel = Tunnel(inside((same or [each.address for each in self._bound])[0]), remote, self.key_of, deliver)
        self._tunnels[tunnel.address] = tunnel
        return tunnel

    def close_tunnel(self, tunnel: Tunnel) -> None:
        """Nobody comes by it any more, and its address may become another's at once; idempotent."""
        if self._tunnels.pop(tunnel.address, None) is None:
            return
        tunnel.close()
        for (path, address), holder in list(self._holders.items()):
            if address == tunnel.address:
                holder.lose_address(path, address)

    def held_addresses(self) -> set[Address]:
        """Addresses, as the plane sees them, that a leg has heard a check from."""
        return {address for _, address in self._holders}

    # Accounting

    def count(self, reason: str) -> None:
        """Count one dropped STUN message."""
        self.counters[reason] = self.counters.get(reason, 0) + 1

    @property
    def carried(self) -> tuple[int, int]:
        """TCP connections, and far ends that come by another way than UDP."""
        return len(self._tcp), len(self._tunnels)

    @property
    def table_sizes(self) -> dict[str, int]:
        """Entries in each table, for metrics and tests."""
        return {
            "legs": len(self._legs),
            "ufrags": len(self._legs_by_ufrag),
            "addresses": len(self._holders),
            "checks": len(self._checking),
            "error_sources": len(self._errors),
        }

    def _new_certificate(self) -> DtlsCertificate:
        return DtlsCertificate.generate(
            datetime.now(UTC), timedelta(days=self.config.certificate_days), self._random_bytes(8).hex()
        )
