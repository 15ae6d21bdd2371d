"""What the WebRTC tests share: a clock turned by hand, a port without a socket, STUN clients, answers."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from aioice import stun

from gateway.media.embedded.plane.srtp import SrtpSession
from gateway.media.embedded.webrtc.certificate import DtlsCertificate
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsAssociation, DtlsContext, DtlsRole, DtlsState
from gateway.media.embedded.webrtc.ice import Address
from gateway.media.embedded.webrtc.leg import LegState, WebRtcLeg
from gateway.media.embedded.webrtc.port import PortPath, WebRtcPort

BROWSER: Address = ("192.0.2.10", 50000)
CERTIFICATE = DtlsCertificate.generate(datetime.now(UTC), timedelta(days=30), "gateway")
PEER_CERTIFICATE = DtlsCertificate.generate(datetime.now(UTC), timedelta(days=30), "browser")
PEER_CONTEXT = DtlsContext(PEER_CERTIFICATE, WebRtcConfig().srtp_profiles)
CONTEXT = DtlsContext(CERTIFICATE, WebRtcConfig().srtp_profiles)


class ManualTimer:
    """One entry of a `ManualClock`."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.cancelled = when, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """A clock that only `advance` moves; timers run in order on the way."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(when, callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self.now = max(self.now, when)
                timer.callback()
        self.now = end

    @property
    def pending(self) -> int:
        return sum(not timer.cancelled for _, _, timer in self._timers)


class FakeSocket:
    """Keeps what is sent; refuses on demand."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Address]] = []
        self.refusing = False

    def sendto(self, data: bytes, address: Address) -> int:
        if self.refusing:
            raise BlockingIOError
        self.sent.append((data, address))
        return len(data)

    def take(self, address: Address | None = None) -> list[bytes]:
        taken = [data for data, to in self.sent if address in (None, to)]
        self.sent = [item for item in self.sent if address not in (None, item[1])]
        return taken


class RecordingSink:
    """A `PacketSink` that keeps everything."""

    def __init__(self) -> None:
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []

    def receive_rtp(self, packet: bytes, now: float) -> None:
        self.rtp.append(packet)

    def receive_rtcp(self, packet: bytes, now: float) -> None:
        self.rtcp.append(packet)


class Bench:
    """A port on a fake socket and a manual clock, and the states its legs went through."""

    def __init__(self, config: WebRtcConfig | None = None) -> None:
        self.clock = ManualClock()
        self.socket = FakeSocket()
        self.port = WebRtcPort(
            config or WebRtcConfig(),
            clock=self.clock,
            random_bytes=random.Random(7).randbytes,
            schedule=self.clock.call_at,
            certificate=CERTIFICATE,
        )
        self.path: PortPath = self.port.attach(cast(Any, self.socket))
        self.states: list[tuple[LegState, str]] = []

    def open_leg(self) -> WebRtcLeg:
        return self.port.open_leg(lambda state, reason: self.states.append((state, reason)))

    def deliver(self, data: bytes, source: Address = BROWSER) -> None:
        self.path.datagram_received(data, source)


def binding_request(
    leg: WebRtcLeg,
    *,
    use_candidate: bool = True,
    password: str | None = None,
    username: str | None = None,
    role: str = "ICE-CONTROLLING",
    transaction_id: bytes | None = None,
) -> bytes:
    """A check as a full agent sends it to `leg`, made with aioice."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction_id)
    message.attributes["USERNAME"] = username or f"{leg.local_ufrag}:peer"
    message.attributes["PRIORITY"] = 1853824767
    message.attributes[role] = 4711
    if use_candidate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity((password or leg.local_password).encode())
    return bytes(message)


class Peer:
    """The browser's end in memory: checks, one DTLS association, SRTP."""

    def __init__(self, bench: Bench, leg: WebRtcLeg, role: DtlsRole, source: Address = BROWSER) -> None:
        self.bench, self.leg, self.source = bench, leg, source
        self.dtls = DtlsAssociation(PEER_CONTEXT, role, CONTEXT.fingerprints, WebRtcConfig())
        self.srtp: SrtpSession | None = None
        self.media: list[bytes] = []
        self.responses: list[stun.Message] = []

    def check(self, **options: Any) -> None:
        self.bench.deliver(binding_request(self.leg, **options), self.source)
        self.pump()

    def start(self) -> None:
        self.dtls.start(self.bench.clock())
        self.pump()

    def pump(self) -> None:
        """Carry datagrams both ways until nobody has anything to say."""
        while True:
            outgoing = self.dtls.datagrams_to_send()
            for datagram in outgoing:
                self.bench.deliver(datagram, self.source)
            incoming = self.bench.socket.take(self.source)
            for datagram in incoming:
                self._receive(datagram)
            if not outgoing and not incoming:
                return

    def _receive(self, datagram: bytes) -> None:
        if datagram[0] <= 3:
            self.responses.append(stun.parse_message(datagram))
        elif 20 <= datagram[0] <= 63:
            self.dtls.receive(datagram, self.bench.clock())
            if self.dtls.state is DtlsState.CONNECTED and self.srtp is None:
                assert self.dtls.send_key is not None
                assert self.dtls.receive_key is not None
                self.srtp = SrtpSession(self.dtls.send_key, self.dtls.receive_key)
        else:
            assert self.srtp is not None
            plain = self.srtp.unprotect(datagram)
            assert plain is not None
            self.media.append(plain)

    def send_rtp(self, packet: bytes) -> bytes:
        """Protect and deliver one packet; returns the datagram."""
        assert self.srtp is not None
        data = self.srtp.protect(packet)
        assert data is not None
        self.bench.deliver(data, self.source)
        return data


def rtp(sequence: int, payload: bytes = b"\x01" * 160, ssrc: int = 0x11223344, payload_type: int = 0) -> bytes:
    """One RTP packet."""
    return (
        bytes([0x80, payload_type])
        + (sequence & 0xFFFF).to_bytes(2)
        + (160 * sequence & 0xFFFFFFFF).to_bytes(4)
        + ssrc.to_bytes(4)
        + payload
    )


def connected(config: WebRtcConfig | None = None, role: str = "passive") -> tuple[Bench, WebRtcLeg, Peer]:
    """A leg that is up, its peer and the bench they stand on."""
    bench = Bench(config)
    leg = bench.open_leg()
    leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, role)
    peer = Peer(bench, leg, DtlsRole.ACTIVE if role == "passive" else DtlsRole.PASSIVE)
    peer.check()
    if role == "passive":
        peer.start()
    assert leg.state is LegState.CONNECTED, bench.states
    return bench, leg, peer


def answer_for(offer: str, port: WebRtcPort, leg: WebRtcLeg, setup: str = "passive", codec: str = "0 PCMU/8000") -> str:
    """A hand-made ICE-lite answer to a browser's audio offer."""
    mid = next(line[6:] for line in offer.splitlines() if line.startswith("a=mid:"))
    payload_type, _, name = codec.partition(" ")
    algorithm, value = port.fingerprints[0]
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {mid}",
        "a=ice-lite",
        f"m=audio 9 UDP/TLS/RTP/SAVPF {payload_type}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{mid}",
        f"a=ice-ufrag:{leg.local_ufrag}",
        f"a=ice-pwd:{leg.local_password}",
        f"a=fingerprint:{algorithm} {value}",
        f"a=setup:{setup}",
        "a=sendrecv",
        "a=rtcp-mux",
        f"a=rtpmap:{payload_type} {name}",
        "a=ssrc:305419896 cname:gateway",
        "a=msid:gateway audio",
        *(f"a=candidate:{candidate}" for candidate in port.candidates()),
        "a=end-of-candidates",
    ]
    return "\r\n".join(lines) + "\r\n"


def remote_of(sdp: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """ufrag, password and fingerprints of a description."""
    values: dict[str, list[str]] = {}
    for line in sdp.splitlines():
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            values.setdefault(name, []).append(value)
    fingerprints = tuple((a, v) for a, _, v in (text.partition(" ") for text in values["fingerprint"]))
    return values["ice-ufrag"][0], values["ice-pwd"][0], fingerprints
