"""What the WebRTC tests share: a clock turned by hand, a port without a socket, STUN clients, answers."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from aioice import stun

from gateway.media.embedded.plane.python import PythonPlane
from gateway.media.embedded.plane.shared import SharedPort
from gateway.media.embedded.plane.srtp import WORKSPACE
from gateway.media.embedded.plane.values import Action, Address, FlowSnapshot, MediaPacket, Route
from gateway.media.embedded.webrtc.certificate import DtlsCertificate
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsAssociation, DtlsContext, DtlsRole, DtlsState
from gateway.media.embedded.webrtc.ice import Left
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.port import WebRtcPort
from gateway.media.embedded.webrtc.states import LegState, StateHandler
from tests.media.hosts import at
from tests.media.rtp_support import ManualClock, ManualReactor
from tests.media.srtp_pair import SrtpSession
from tests.ports import free_port

T = TypeVar("T")
BROWSER: Address = at("192.0.2.10", 50000)
CERTIFICATE = DtlsCertificate.generate(datetime.now(UTC), timedelta(days=30), "gateway")
PEER_CERTIFICATE = DtlsCertificate.generate(datetime.now(UTC), timedelta(days=30), "browser")
PEER_CONTEXT = DtlsContext(PEER_CERTIFICATE, WebRtcConfig().srtp_profiles)
CONTEXT = DtlsContext(CERTIFICATE, WebRtcConfig().srtp_profiles)


class FakeSocket:
    """Keeps what is sent; refuses on demand."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Address]] = []
        self.refusing = False

    def getsockname(self) -> Address:
        return at("192.0.2.1", 4000)

    def recvfrom_into(self, buffer: memoryview) -> tuple[int, Any]:
        raise BlockingIOError

    def close(self) -> None:
        """Nothing is open."""

    def sendto(self, data: bytes | memoryview, address: Address) -> int:
        if self.refusing:
            raise BlockingIOError
        self.sent.append((bytes(data), address))
        return len(data)

    def take(self, address: Address | None = None) -> list[bytes]:
        taken = [data for data, to in self.sent if address in (None, to)]
        self.sent = [item for item in self.sent if address not in (None, item[1])]
        return taken


class RecordingSink:
    """Keeps every packet of a flow."""

    def __init__(self) -> None:
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []

    def media(self, packet: MediaPacket) -> None:
        self.rtp.append(rtp(packet.sequence_number, packet.payload, payload_type=packet.payload_type))

    def take_rtcp(self, packet: bytes) -> None:
        self.rtcp.append(packet)


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that awaits nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waits")


class Bench:
    """A port on a fake socket and a manual clock, and the states its legs went through; a `PlaneHandler`."""

    def __init__(self, config: WebRtcConfig | None = None) -> None:
        self.clock = ManualClock()
        self.socket = FakeSocket()
        self._begin(PythonPlane(ManualReactor(self.clock), self.clock, bind=lambda *_, **__: self.socket))
        self.port = WebRtcPort(
            config or WebRtcConfig(own_addresses=False),
            plane=self.plane,
            ids=itertools.count(1).__next__,
            clock=self.clock,
            random_bytes=random.Random(7).randbytes,
            schedule=self.clock.call_at,
            certificate=CERTIFICATE,
        )
        finished(self.port.start())

    def _begin(self, plane: PythonPlane) -> None:
        self.plane = plane
        finished(plane.start(self))
        self.states: list[tuple[LegState, str]] = []
        self.legs: dict[int, WebRtcLeg] = {}
        self.sinks: dict[int, RecordingSink] = {}

    def open_leg(self, on_state: StateHandler | None = None) -> WebRtcLeg:
        leg = self.port.open_leg(on_state or (lambda state, reason: self.states.append((state, reason))))
        self.legs[leg.flow] = leg
        self.listen(leg)
        self.plane.start_stream(leg.flow, 0x11223344, 1, 0, 8000)
        self.plane.set_open(leg.flow, True)
        return leg

    def resumed(self, leg: WebRtcLeg) -> WebRtcLeg:
        """The leg as the next process has it, which knows its values and what the plane holds."""
        values, figures = json.loads(json.dumps(leg.values())), self.figures(leg)
        self.port._legs_by_ufrag.clear()
        self.port._holders.clear()
        again = self.legs[leg.flow] = self.port.open_leg(lambda state, reason: None, Left.of(values))
        again.resume(values, figures)
        return again

    def listen(self, leg: WebRtcLeg, sink: RecordingSink | None = None) -> RecordingSink:
        """Have everything the leg's peer sends kept."""
        self.sinks[leg.flow] = sink or RecordingSink()
        self.plane.route(leg.flow, leg.flow, {0: Route(action=Action.PUNT, clock_rate=8000)})
        return self.sinks[leg.flow]

    def deliver(self, data: bytes, source: Address = BROWSER) -> None:
        size = WORKSPACE.put(data)
        port = next(iter(self.plane._ports.values()))
        assert isinstance(port, SharedPort)
        port.paths[0].datagram(size, source, self.clock())

    def send(self, leg: WebRtcLeg, packet: bytes) -> None:
        """The payload of a packet, on the leg's outgoing stream."""
        self.plane.inject(leg.flow, 0, False, packet[12:], 160)

    def figures(self, leg: WebRtcLeg) -> FlowSnapshot:
        return finished(self.plane.snapshot([leg.flow]))[leg.flow]

    def discarded(self, leg: WebRtcLeg) -> dict[str, int]:
        """Everything of the leg that was dropped, on either way."""
        figures = self.figures(leg)
        total = Counter(leg.discarded) + Counter(figures.discarded) + Counter(figures.unsent)
        return dict(total)

    @property
    def counters(self) -> dict[str, int]:
        return {**self.port.counters, **finished(self.plane.counters())}

    @property
    def addresses(self) -> int:
        """Addresses admitted in the plane."""
        port = next(iter(self.plane._ports.values()))
        assert isinstance(port, SharedPort)
        return sum([len(path.flows) for path in port.paths])

    # PlaneHandler

    def stun(self, path: int, source: Address, data: bytes, now: float) -> None:
        self.port.stun(path, source, data, now)

    def dtls(self, flow: int, path: int, source: Address, data: bytes, now: float) -> None:
        self.legs[flow].receive_dtls(data, now)

    def rtcp(self, flow: int, path: int, source: Address, packet: bytes, now: float) -> None:
        self.sinks[flow].take_rtcp(packet)

    def media(self, flow: int, packet: MediaPacket, now: float) -> None:
        self.sinks[flow].media(packet)

    def stranger(self, flow: int, path: int, source: Address, data: bytes, heard: float, now: float) -> None:
        raise AssertionError("browsers have no strangers")

    def source_learned(self, flow: int, source: Address, description: int | None, now: float) -> None:
        raise AssertionError("browsers have pairs")

    def run_began(self, flow: int, ssrc: int, generation: int, now: float) -> None: ...

    def missing(self, flow: int, sequence_numbers: Sequence[int], now: float) -> None: ...

    def fed(self, target: int, source: int, now: float) -> None: ...

    def idle(self, flow: int, silent: float) -> None:
        self.legs[flow].idle(silent)

    def lost(self) -> None: ...

    def restarted(self) -> None: ...


class LiveBench(Bench):
    """The same on real sockets and the real clock; `await start()`, `close()`.

    Without a port of its own it takes one that nobody has on any address, for UDP and TCP alike.
    """

    def __init__(self, config: WebRtcConfig | None = None) -> None:
        self._begin(PythonPlane(asyncio.get_running_loop(), time.monotonic))
        config = config or WebRtcConfig(own_addresses=False)
        self.port = WebRtcPort(
            config if config.port else replace(config, port=free_port()),
            plane=self.plane,
            ids=itertools.count(1).__next__,
            certificate=CERTIFICATE,
        )

    @classmethod
    async def start(cls, config: WebRtcConfig | None = None) -> LiveBench:
        made = cls(config)
        try:
            await made.port.start()
            await made.port.gather()
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        self.port.close()
        finished(self.plane.close())


def binding_check(
    username: str,
    password: str,
    *,
    use_candidate: bool = True,
    role: str = "ICE-CONTROLLING",
    transaction_id: bytes | None = None,
) -> bytes:
    """A check as a full agent sends it, made with aioice."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction_id)
    message.attributes["USERNAME"] = username
    message.attributes["PRIORITY"] = 1853824767
    message.attributes[role] = 4711
    if use_candidate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(password.encode())
    return bytes(message)


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
    return binding_check(
        username or f"{leg.local_ufrag}:peer",
        password or leg.local_password,
        use_candidate=use_candidate,
        role=role,
        transaction_id=transaction_id,
    )


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
        "a=ssrc:287454020 cname:gateway",
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
