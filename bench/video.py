"""Video through the native plane alone: calls of 1.5 Mbit/s each way between a browser (SRTP, bundled) and a phone.

`python -m bench.video [CALLS] [SECONDS]` prints the CPU time of the plane; it works with one packet thread.
`python -m bench.video room [MEMBERS] [SECONDS]`: browsers of one conference room instead, each of which sees all the
others, eight at most, in 0.5 Mbit/s each.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

from gateway.media.embedded.plane.key_frame import Format
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.native.process import PlaneProcess, find_program
from gateway.media.embedded.plane.srtp import SendContext, SrtpKey, SrtpProfile
from gateway.media.embedded.plane.values import Action, Address, Fed, FlowConfig, MediaPacket, Repeats, Route

BITS, OCTETS, TURN = 1_500_000, 1100, 0.01
"""Bits a second each way of each call, octets of a payload, seconds between two turns of the generator."""
ROOM_BITS, SEEN = 500_000, 8
"""Bits a second that each member of a room sends, and others whom each sees."""
SHARED = 1
_FORWARD = Route(action=Action.FORWARD, payload_type=96, clock_rate=90_000)
_HEADER = struct.Struct("!BBHII")


class Ignoring:
    """A `PlaneHandler` that needs the paths of the browsers' first datagrams and nothing else."""

    def __init__(self) -> None:
        self.paths: dict[Address, int] = {}
        self.heard = asyncio.Event()

    def stun(self, path: int, source: Address, data: bytes, now: float) -> None:
        self.paths[source] = path
        self.heard.set()

    def dtls(self, flow: int, path: int, source: Address, data: bytes, now: float) -> None: ...
    def rtcp(self, flow: int, path: int, source: Address, packet: bytes, now: float) -> None: ...
    def media(self, flow: int, packet: MediaPacket, now: float) -> None: ...
    def stranger(self, flow: int, path: int, source: Address, data: bytes, heard: float, now: float) -> None: ...
    def source_learned(self, flow: int, source: Address, description: int | None, now: float) -> None: ...
    def run_began(self, flow: int, ssrc: int, generation: int, now: float) -> None: ...
    def missing(self, flow: int, sequence_numbers: object, now: float) -> None: ...
    def fed(self, target: int, source: int, now: float) -> None: ...

    def idle(self, flow: int, silent: float) -> None: ...
    def lost(self) -> None: ...
    def restarted(self) -> None: ...


class Sender:
    """One end of a call: sends its packets, and reads and counts what comes."""

    def __init__(self, to: Address, ssrc: int, key: SrtpKey | None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.address: Address = self.socket.getsockname()
        self.to, self.ssrc, self.sent, self.received = to, ssrc, 0, 0
        self._context = SendContext(key, {}) if key is not None else None

    def send(self, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            packet = _HEADER.pack(0x80, 96, self.sent & 0xFFFF, self.sent * 500, self.ssrc) + bytes(OCTETS)
            data = self._context.protect(packet) if self._context is not None else packet
            self.socket.sendto(data or b"", self.to)

    def read(self) -> None:
        while True:
            try:
                self.received += bool(self.socket.recv(2048))
            except BlockingIOError:
                return


def check(number: int) -> bytes:
    """A Binding request (RFC 8489 section 5) that nobody need believe: its source is what counts."""
    return struct.pack("!HHI12s", 1, 0, 0x2112A442, number.to_bytes(12, "big"))


async def call(plane: NativePlane, told: Ignoring, number: int, browsers: Address) -> tuple[Sender, Sender]:
    """Open one call; its browser and its phone."""
    voice, picture, phone_flow = 10 * number, 10 * number + 1, 10 * number + 2
    rtp, _ = await plane.open_pair(phone_flow, "127.0.0.1", 0)
    browser = await connected(plane, told, number, browsers)
    phone = Sender(rtp.address, 2 * number + 2, None)
    plane.open_bundled(picture, voice)
    plane.open_flow(phone_flow, phone_flow, FlowConfig(max_packets_per_second=10_000))
    plane.expect(phone_flow, phone.address)
    plane.set_destination(phone_flow, phone.address, None)
    for flow, target in ((picture, phone_flow), (phone_flow, picture)):
        start(plane, flow)
        plane.route(flow, target, {96: _FORWARD})
    plane.keep(picture, Repeats(ssrc=9_000_000 + number, sequence_number=1, payload_types={96: 97}, packets=256))
    return browser, phone


async def room(plane: NativePlane, told: Ignoring, members: int, browsers: Address) -> list[Sender]:
    """Open one room; its browsers."""
    numbers = range(1, members + 1)
    made = [await connected(plane, told, number, browsers) for number in numbers]
    for number in numbers:
        for view in range(1, min(members, 1 + SEEN)):
            flow = 10 * number + view
            plane.open_bundled(flow, 10 * number)
            start(plane, flow)
            repeats = Repeats(ssrc=9_000_000 + flow, sequence_number=1, payload_types={96: 97}, packets=256)
            plane.keep(flow, repeats)
        plane.route(10 * number + 1, None, {96: Route(action=Action.DROP, clock_rate=90_000)})
    for number in numbers:
        others = [other for other in numbers if other != number][:SEEN]
        for view, other in enumerate(others, 1):
            plane.feed(10 * number + view, 10 * other + 1, {96: Fed(payload_type=96, form=Format.ANY)})
    return made


def start(plane: NativePlane, flow: int) -> None:
    """Let the flow send."""
    plane.start_stream(flow, 5_000_000 + flow, 1, 1, 90_000, ends_frames=True)
    plane.set_open(flow, True)


async def connected(plane: NativePlane, told: Ignoring, number: int, browsers: Address) -> Sender:
    """A browser whose transport is up, of the flow `10 * number`."""
    profile = SrtpProfile.AEAD_AES_128_GCM
    ours, theirs = (SrtpKey(profile, bytes([number & 0xFF, side]) * 14) for side in (1, 2))
    voice, browser = 10 * number, Sender(browsers, 2 * number + 1, theirs)
    plane.open_flow(voice, SHARED, FlowConfig(secure=True, mux=True, max_packets_per_second=10_000))
    told.heard.clear()
    browser.socket.sendto(check(number), browsers)
    await asyncio.wait_for(told.heard.wait(), 5)
    plane.admit_pair(voice, told.paths[browser.address], browser.address)
    plane.select(voice, told.paths[browser.address], browser.address)
    plane.set_receive_key(voice, theirs)
    plane.set_send_key(voice, ours)
    return browser


async def measure(calls: int, seconds: float, members: int = 0) -> None:
    """Set the calls, or the room, up, send for so long, and print what the plane used."""
    program = find_program()
    if program is None:
        sys.exit("the packet plane is not built: scripts/plane build")
    with tempfile.TemporaryDirectory() as folder:
        plane, told = NativePlane(PlaneProcess(program, Path(folder), threads=1)), Ignoring()
        await plane.start(told)
        [bound] = await plane.open_shared(SHARED, ["127.0.0.1"], 0, receive_buffer=4 << 20, send_buffer=4 << 20)
        ends = [each for number in range(1, calls + 1) for each in await call(plane, told, number, bound.address)]
        ends += await room(plane, told, members, bound.address) if members else []
        bits, copies = (ROOM_BITS, min(members - 1, SEEN)) if members else (BITS, 1)
        await plane.snapshot([])
        before, began = await plane.counters(), time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            for each in ends:
                each.send(int(now * bits / 8 / OCTETS) - each.sent)
                each.read()
            await asyncio.sleep(TURN)
        took = time.monotonic() - began
        after = await plane.counters()
        await asyncio.sleep(0.2)
        for each in ends:
            each.read()
        await plane.close()
    sent, received = copies * sum(each.sent for each in ends), sum(each.received for each in ends)
    cpu = (after["cpu_microseconds"] - before["cpu_microseconds"]) / 1e6
    what = f"forwarded in a room of {members}" if members else f"{calls} calls both ways together"
    print(f"{what}, {sent / took:.0f} packets/s, {8 * OCTETS * sent / took / 1e6:.1f} Mbit/s")
    print(f"lost {sent - received} of {sent}; CPU of the plane {100 * cpu / took:.1f} % of one core")
    print(f"{1e6 * cpu / sent:.2f} us a packet")


if __name__ == "__main__":
    if sys.argv[1:2] == ["room"]:
        asyncio.run(measure(0, float((*sys.argv[3:], "10")[0]), int((*sys.argv[2:], "10")[0])))
    else:
        asyncio.run(
            measure(*(kind(text) for kind, text in zip((int, float), (*sys.argv[1:], 20, 10)[:2], strict=True)))
        )
