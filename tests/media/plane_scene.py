"""A plane of either kind on real sockets, and two phones with a flow each."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from pathlib import Path
from typing import Self

from gateway.media.embedded.plane.gather import GatheringReactor
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.native.process import PlaneProcess
from gateway.media.embedded.plane.packet import RtpPacket, sequence_delta
from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.python import PythonPlane
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from gateway.media.embedded.plane.values import Action, Address, FlowConfig, FlowSnapshot, Route
from tests import peers
from tests.media.engine_support import until
from tests.media.plane_support import Handler, forward
from tests.virtual import outside

GCM, CM = SrtpProfile.AEAD_AES_128_GCM, SrtpProfile.AES_CM_128_HMAC_SHA1_80
ROUTES = {0: forward(8000, 0), 111: forward(48000, 96), 101: Route(action=Action.COPY, payload_type=101)}
SSRC = 0xABCD
LEFT, RIGHT = 1, 2


class Phone:
    """A UDP socket that speaks RTP."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.address: Address = self.socket.getsockname()[:2]
        self.to: Address = self.address
        self.received: list[bytes] = []

    def send(self, data: bytes | None) -> None:
        assert data is not None
        self.socket.sendto(data, self.to)

    def take(self) -> list[bytes]:
        while True:
            try:
                self.received.append(self.socket.recv(2048))
            except BlockingIOError:
                return self.received

    @property
    def heard(self) -> list[RtpPacket]:
        return [RtpPacket.parse(data) for data in self.take()]

    async def hears(self, count: int) -> list[RtpPacket]:
        await until(lambda: len(self.take()) >= count)
        return self.heard


def native(folder: Path, carrier: str = "auto") -> Plane:
    """Return the native plane."""
    return NativePlane(PlaneProcess(peers.plane(), folder / "plane", carrier=carrier))


class Scene:
    """A plane, and two phones with a flow each."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.handler = Handler()
        self.left, self.right = Phone(), Phone()
        self.phones = [self.left, self.right]

    async def __aenter__(self) -> Self:
        try:
            return await self.open()
        except BaseException:
            await self.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> Self:
        await self.plane.start(self.handler)
        for flow, phone in ((LEFT, self.left), (RIGHT, self.right)):
            await self.add(flow, phone)
        self.join(LEFT, RIGHT)
        self.join(RIGHT, LEFT)
        await self.done()
        return self

    async def add(self, flow: int, phone: Phone, first: int = 100) -> None:
        host = phone.address[0]
        rtp, _ = await self.plane.open_pair(flow, host, 0)
        phone.to = rtp.address
        self.plane.open_flow(flow, flow, FlowConfig(max_packets_per_second=100_000))
        self.plane.expect(flow, phone.address)
        self.plane.set_destination(flow, phone.address, phone.address)
        self.plane.start_stream(flow, SSRC + flow, first, 1000, 8000)
        self.plane.set_open(flow, True)

    def join(self, source: int, target: int) -> None:
        self.plane.route(source, target, ROUTES)

    async def done(self) -> None:
        """Wait until the plane has done what it was asked to."""
        await self.plane.snapshot([LEFT])

    async def figures(self, flow: int) -> FlowSnapshot:
        return (await self.plane.snapshot([flow]))[flow]

    async def settle(self, flow: int, received: int) -> None:
        """Wait until so many packets of a flow were admitted or dropped."""
        async with asyncio.timeout(30):
            while True:
                figures = await self.figures(flow)
                if figures.received + sum(figures.discarded.values()) >= received:
                    return
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self.plane.close()
        for phone in self.phones:
            phone.socket.close()


def made_plane(name: str, folder: Path) -> Plane:
    """The Python plane, or the native one by that carrier."""
    if name == "python":
        return PythonPlane(GatheringReactor(asyncio.get_running_loop(), time.monotonic, 0.001), time.monotonic)
    return native(folder, name)


PLANES = ("python", outside("auto"), outside("epoll"))
"""The Python plane, and the native one by the system calls this kernel leads to and by those every kernel has."""


def rtp(
    number: int, *, payload: bytes = b"voice", payload_type: int = 0, ssrc: int = 7, stamp: int | None = None
) -> bytes:
    when = number * 160 if stamp is None else stamp
    return bytes(RtpPacket(payload_type, number & 0xFFFF, when & 0xFFFFFFFF, ssrc, payload))


def key(profile: SrtpProfile, seed: int) -> SrtpKey:
    return SrtpKey.generate(profile, random.Random(seed).randbytes)


def numbers(packets: list[RtpPacket]) -> list[int]:
    return [sequence_delta(packet.sequence_number, packets[0].sequence_number) for packet in packets]
