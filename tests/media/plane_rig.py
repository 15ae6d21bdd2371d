"""A plane on real sockets, and the peers it serves: a phone in the clear, a browser with checks and SRTP."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from aioice import stun
from pylibsrtp import Policy, Session

from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.native.process import PlaneProcess
from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from gateway.media.embedded.plane.values import Action, Address, Bound, FlowConfig, FlowSnapshot, MediaPacket, Route
from tests import peers
from tests.media.hosts import at

UFRAG, PASSWORD = "ours", "a password of this leg"
HOST = "127.0.0.1"
PCMU = Route(action=Action.FORWARD, payload_type=0, clock_rate=8000)
PATIENCE = 30.0
"""Seconds a test waits for what must come."""


def native_plane(state_dir: Path, *, threads: int = 2, orphan_timeout: float = 10.0) -> NativePlane:
    """Return the plane that `make test` builds."""
    return NativePlane(PlaneProcess(peers.plane(), state_dir, threads=threads, orphan_timeout=orphan_timeout))


def break_off(plane: NativePlane) -> None:
    """End the connection to the program, once what it was told is written."""
    link = plane._link
    assert link is not None
    link._flush()
    assert link._transport is not None
    link._transport.close()


async def leave(plane: NativePlane) -> None:
    """Go away as a gateway does that is killed: the program goes on."""
    plane._closing = True
    break_off(plane)
    await plane._over.wait()
    plane._link = None


def rtp(
    number: int,
    *,
    timestamp: int | None = None,
    ssrc: int = 7,
    payload_type: int = 0,
    payload: bytes = b"\x55" * 160,
    marker: bool = False,
) -> bytes:
    """One RTP packet of 20 ms."""
    when = number * 160 if timestamp is None else timestamp
    second = payload_type | (0x80 if marker else 0)
    return struct.pack("!BBHII", 0x80, second, number & 0xFFFF, when & 0xFFFFFFFF, ssrc) + payload


def numbers(packet: bytes) -> tuple[int, int, int, int]:
    """Marker and payload type, sequence number, timestamp and SSRC."""
    _, second, number, timestamp, ssrc = struct.unpack_from("!BBHII", packet)
    return second, number, timestamp, ssrc


class Told:
    """A `PlaneHandler` that keeps what it is told."""

    def __init__(self) -> None:
        self.checks: list[tuple[int, Address, bytes]] = []
        self.handshakes: list[tuple[int, bytes]] = []
        self.reports: list[tuple[int, Address, bytes]] = []
        self.packets: list[MediaPacket] = []
        self.strangers: list[tuple[Address, bytes]] = []
        self.learned: list[tuple[int, Address]] = []
        self.runs: list[tuple[int, int, int]] = []
        self.lacking: list[tuple[int, int]] = []
        self.idles: list[int] = []
        self.ends = 0
        self.restarts = 0
        self.on_check: Callable[[int, Address, bytes], None] | None = None

    def stun(self, path: int, source: Address, data: bytes, now: float) -> None:
        self.checks.append((path, source, data))
        if self.on_check is not None:
            self.on_check(path, source, data)

    def dtls(self, flow: int, path: int, source: Address, data: bytes, now: float) -> None:
        self.handshakes.append((flow, data))

    def rtcp(self, flow: int, path: int, source: Address, packet: bytes, now: float) -> None:
        self.reports.append((flow, source, packet))

    def media(self, flow: int, packet: MediaPacket, now: float) -> None:
        self.packets.append(packet)

    def stranger(self, flow: int, path: int, source: Address, data: bytes, heard: float, now: float) -> None:
        self.strangers.append((source, data))

    def source_learned(self, flow: int, source: Address, description: int | None, now: float) -> None:
        self.learned.append((flow, source))

    def run_began(self, flow: int, ssrc: int, generation: int, now: float) -> None:
        self.runs.append((flow, ssrc, generation))

    def missing(self, flow: int, sequence_numbers: Sequence[int], now: float) -> None:
        self.lacking += [(flow, number) for number in sequence_numbers]

    def fed(self, target: int, source: int, now: float) -> None: ...

    def idle(self, flow: int, silent: float) -> None:
        self.idles.append(flow)

    def lost(self) -> None:
        self.ends += 1

    def restarted(self) -> None:
        self.restarts += 1


class Peer:
    """One UDP socket of a peer."""

    def __init__(self, host: str = HOST) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.address: Address = self.socket.getsockname()[:2]
        self.to: Address = at(host, 9)

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.to)

    async def receive(self) -> bytes:
        try:
            return self.socket.recv(4096)
        except BlockingIOError:
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 4096), PATIENCE)

    def waiting(self) -> list[bytes]:
        """Everything that has come."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self.socket.close()


LIBRARY = {
    SrtpProfile.AEAD_AES_128_GCM: Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    SrtpProfile.AEAD_AES_256_GCM: Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    SrtpProfile.AES_CM_128_HMAC_SHA1_80: Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    SrtpProfile.AES_CM_128_HMAC_SHA1_32: Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
"""The profiles that libsrtp knows, by its names; AES-256 in counter mode is proved by the contract of both planes."""


def key_of(profile: SrtpProfile, seed: int) -> SrtpKey:
    """A key that is the same in every run."""
    length = profile.key_length + profile.salt_length
    return SrtpKey(profile, bytes((seed + 7 * each) & 0xFF for each in range(length)))


def library_session(key: SrtpKey, *, inbound: bool) -> Session:
    """One direction in libsrtp, the independent peer."""
    direction = Policy.SSRC_ANY_INBOUND if inbound else Policy.SSRC_ANY_OUTBOUND
    policy = Policy(key=key.material, ssrc_type=direction, srtp_profile=LIBRARY[key.profile])
    policy.window_size = 1024
    return Session(policy)


class Phone(Peer):
    """A peer on a pair port."""

    def __init__(self, plane: Plane, flow: int, host: str = HOST) -> None:
        super().__init__(host)
        self.plane, self.flow, self.host = plane, flow, host
        self.bounds: tuple[Bound, ...] = ()

    async def open(self, config: FlowConfig | None = None, *, named: bool = True, ssrc: int = 0xABC) -> None:
        """Open its port and its flow, with an outgoing stream from sequence number 1000 and timestamp 5000."""
        self.bounds = await self.plane.open_pair(self.flow, self.host, 0)
        self.to = self.bounds[0].address
        self.plane.open_flow(self.flow, self.flow, config or FlowConfig(max_packets_per_second=1_000_000))
        if named:
            self.plane.expect(self.flow, self.address)
            self.plane.set_destination(self.flow, self.address, self.address)
        self.plane.start_stream(self.flow, ssrc, 1000, 5000, 8000)
        self.plane.set_open(self.flow, True)


class Browser(Peer):
    """A peer on the shared port `port`, with both keys of one profile."""

    def __init__(self, plane: Plane, flow: int, profile: SrtpProfile = SrtpProfile.AEAD_AES_128_GCM) -> None:
        super().__init__()
        self.plane, self.flow = plane, flow
        self.receive_key, self.send_key = key_of(profile, flow), key_of(profile, flow + 100)
        self.opens = library_session(self.send_key, inbound=True)
        self.protects = library_session(self.receive_key, inbound=False)

    def check(self, *, use_candidate: bool = False, password: str = PASSWORD, ufrag: str = UFRAG) -> bytes:
        """One Binding request as a full agent makes it."""
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        message.attributes["USERNAME"] = f"{ufrag}{self.flow}:peer"
        message.attributes["PRIORITY"] = 1853824767
        message.attributes["ICE-CONTROLLING"] = 4711
        if use_candidate:
            message.attributes["USE-CANDIDATE"] = None
        message.add_message_integrity(password.encode())
        return bytes(message)

    async def open(self, told: Told, port: int, bound: Bound, *, ssrc: int = 0xDEF) -> None:
        """Check, be admitted and selected, have keys and an outgoing stream."""
        plane, flow = self.plane, self.flow
        self.to = bound.address
        plane.open_flow(flow, port, FlowConfig(secure=True, max_packets_per_second=1_000_000))
        plane.set_credentials(flow, [(f"{UFRAG}{flow}", PASSWORD)])
        known = len(told.checks)
        self.send(self.check(use_candidate=True))
        await until(lambda: any(source == self.address for _, source, _ in told.checks[known:]))
        path = next(path for path, source, _ in told.checks[known:] if source == self.address)
        plane.admit_pair(flow, path, self.address)
        plane.select(flow, path, self.address)
        plane.set_receive_key(flow, self.receive_key)
        plane.set_send_key(flow, self.send_key)
        plane.start_stream(flow, ssrc, 1000, 5000, 8000)
        plane.set_open(flow, True)
        await plane.snapshot([flow])


async def until(condition: Callable[[], object]) -> None:
    """Wait for something to become true; the test fails when it does not in time."""
    loop = asyncio.get_running_loop()
    reached = loop.create_future()

    def look() -> None:
        if reached.done():
            return
        if condition():
            reached.set_result(None)
        else:
            loop.call_later(0.005, look)

    look()
    await asyncio.wait_for(reached, PATIENCE)


async def figures(plane: Plane, flow: int) -> FlowSnapshot:
    """One flow as it stands."""
    return (await plane.snapshot([flow]))[flow]
