"""One direction of the Python plane on sockets that are not there, with a clock turned by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.media.embedded.plane.packet import RtpPacket, sequence_delta
from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.python import PythonPlane
from gateway.media.embedded.plane.srtp import WORKSPACE
from gateway.media.embedded.plane.values import Action, Address, FlowConfig, FlowSnapshot, MediaPacket, Route
from gateway.media.embedded.sources.packets import Injected
from tests.media.hosts import at
from tests.media.rtp_support import ManualClock, ManualReactor
from tests.media.webrtc_support import FakeSocket, finished

OUT_SSRC = 0xABCD
SOURCE, TARGET = 1, 2
PHONE: Address = at("192.0.2.10", 4000)
LISTENER: Address = at("192.0.2.20", 5000)


class Handler:
    """A `PlaneHandler` that keeps what it is told."""

    def __init__(self) -> None:
        self.packets: list[tuple[int, MediaPacket]] = []
        self.compounds: list[tuple[int, Address, bytes]] = []
        self.strangers: list[tuple[int, Address, bytes]] = []
        self.learned: list[tuple[int, Address]] = []
        self.runs: list[tuple[int, int, int]] = []
        self.lacking: list[tuple[int, int]] = []
        self.begun: list[tuple[int, int]] = []
        self.idles: list[tuple[int, float]] = []
        self.checks: list[tuple[int, Address, bytes]] = []
        self.handshakes: list[tuple[int, int, Address, bytes]] = []

    def stun(self, path: int, source: Address, data: bytes, now: float) -> None:
        self.checks.append((path, source, data))

    def dtls(self, flow: int, path: int, source: Address, data: bytes, now: float) -> None:
        self.handshakes.append((flow, path, source, data))

    def rtcp(self, flow: int, path: int, source: Address, packet: bytes, now: float) -> None:
        self.compounds.append((flow, source, packet))

    def media(self, flow: int, packet: MediaPacket, now: float) -> None:
        self.packets.append((flow, packet))

    def stranger(self, flow: int, path: int, source: Address, data: bytes, heard: float, now: float) -> None:
        self.strangers.append((flow, source, data))

    def source_learned(self, flow: int, source: Address, description: int | None, now: float) -> None:
        self.learned.append((flow, source))

    def run_began(self, flow: int, ssrc: int, generation: int, now: float) -> None:
        self.runs.append((flow, ssrc, generation))

    def missing(self, flow: int, sequence_numbers: Sequence[int], now: float) -> None:
        self.lacking += [(flow, number) for number in sequence_numbers]

    def fed(self, target: int, source: int, now: float) -> None:
        self.begun.append((target, source))

    def idle(self, flow: int, silent: float) -> None:
        self.idles.append((flow, silent))

    def lost(self) -> None: ...

    def restarted(self) -> None: ...


def injected(plane: Plane, packet: Injected) -> None:
    """Have the plane send to the listener what a source made."""
    what = packet.payload_type, packet.marker, packet.payload, packet.advance
    plane.inject(TARGET, *what, event=packet.event)


def forward(clock_rate: int, payload_type: int) -> Route:
    return Route(action=Action.FORWARD, payload_type=payload_type, clock_rate=clock_rate)


ROUTES: Mapping[int, Route] = {0: forward(8000, 0), 111: forward(48000, 96), 13: forward(0, 13)}


class Direction:
    """What a phone sends, and what another one gets."""

    def __init__(self, routes: Mapping[int, Route] | None = None, sequence_number: int = 5000) -> None:
        self.clock = ManualClock()
        self.handler = Handler()
        self.sockets: list[FakeSocket] = []
        self.plane = PythonPlane(ManualReactor(self.clock), self.clock, bind_pair=self._bind)
        finished(self.plane.start(self.handler))
        for flow, address in ((SOURCE, PHONE), (TARGET, LISTENER)):
            finished(self.plane.open_pair(flow, "192.0.2.1", 0))
            self.plane.open_flow(flow, flow, FlowConfig(max_packets_per_second=100_000))
            self.plane.expect(flow, address)
            self.plane.set_destination(flow, address, None)
        self.plane.start_stream(TARGET, OUT_SSRC, sequence_number, 777, 8000)
        self.plane.route(SOURCE, TARGET, routes or ROUTES)
        self.plane.set_open(TARGET, True)

    def _bind(self, host: str, number: int, dscp: int) -> tuple[Any, Any]:
        self.sockets += [FakeSocket(), FakeSocket()]
        return self.sockets[-2], self.sockets[-1]

    def deliver(self, data: bytes, source: Address = PHONE) -> None:
        """One datagram on the source's RTP port."""
        flow: Any = self.plane._flows[SOURCE]
        flow.datagram(WORKSPACE.put(data), source, self.clock())

    def receive(
        self,
        sequence_number: int,
        timestamp: int | None = None,
        *,
        ssrc: int = 1,
        payload_type: int = 0,
        payload: bytes = b"v",
        marker: bool = False,
        after: float = 0.02,
    ) -> None:
        self.clock.advance(after)
        when = sequence_number * 160 if timestamp is None else timestamp
        packet = RtpPacket(payload_type, sequence_number & 0xFFFF, when & 0xFFFFFFFF, ssrc, payload, marker)
        self.deliver(bytes(packet))

    def ours(self, payload: bytes = b"ours") -> None:
        """A packet of our own, where time is."""
        self.plane.inject(TARGET, 0, False, payload, None)

    @property
    def raw(self) -> list[bytes]:
        return [data for data, _ in self.sockets[2].sent]

    @property
    def sent(self) -> list[RtpPacket]:
        return [RtpPacket.parse(data) for data in self.raw]

    def numbers(self) -> list[int]:
        """Sequence numbers sent, from the first."""
        first = self.sent[0].sequence_number
        return [sequence_delta(packet.sequence_number, first) for packet in self.sent]

    @property
    def heard(self) -> FlowSnapshot:
        """The figures of the one who sends."""
        return finished(self.plane.snapshot([SOURCE]))[SOURCE]

    @property
    def told(self) -> FlowSnapshot:
        """The figures of the one who listens."""
        return finished(self.plane.snapshot([TARGET]))[TARGET]

    @property
    def dropped(self) -> int:
        return sum(self.heard.discarded.values()) + self.told.unsent.get("late", 0)
