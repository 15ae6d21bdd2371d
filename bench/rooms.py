"""What a conference costs: CPU of an engine with one room of 50 phones, by codec: python -m bench.rooms."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from bench.table import Result, report
from gateway.conference.room import RoomSettings
from gateway.media.embedded.audio.codecs import make_encoder
from gateway.media.embedded.audio.pcm import tone
from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.engine import Kind, Party
from sdp import SessionDescription

MEMBERS = 50
SECONDS = 10.0
GOAL = 0.9
"""CPUs that 50 members may take, all of them speaking."""
FEW = 3
"""Who speak at once in a meeting; the others send silence."""
HEARD = RoomSettings().max_speakers
"""Of those who speak at once, as rooms are made by default."""
DELIVERED = 99
"""Percent of the packets that each member must get meanwhile."""
MAPS = {"pcmu": (0, "PCMU/8000", 160), "g722": (9, "G722/8000", 160), "opus": (107, "opus/48000/2", 960)}


@dataclass(frozen=True, slots=True)
class Figures:
    """One room."""

    cpus: float
    packets: float
    """Share of the packets that each member should have got."""


def phones(pipe: Connection, codec: str, members: int, speaking: int) -> None:
    """A process of sockets that each count what comes, and send a tone, the first of them, or silence."""
    number, _, step = MAPS[codec]
    encoder = make_encoder(codec, 16_000, 20)
    pcm = tone(440, -16.0, encoder.rate, 1.0)
    starts = range(0, len(pcm), encoder.frame)
    silence = [encoder.encode(np.zeros(encoder.frame, np.int16)) for _ in starts]
    frames = [encoder.encode(pcm[start : start + encoder.frame]) for start in starts]
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(members)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
        each.setblocking(False)
    pipe.send([each.getsockname()[1] for each in sockets])
    targets: list[tuple[str, int]] = pipe.recv()
    received, first, tick, due = 0, 0, 0, time.monotonic()
    while True:
        if pipe.poll():
            if pipe.recv() == "stop":
                break
            received, first = 0, tick
        for index, each in enumerate(sockets):
            says = frames if index < speaking else silence
            packet = RtpPacket(number, tick & 0xFFFF, tick * step & 0xFFFFFFFF, index + 1, says[tick % 50])
            each.sendto(bytes(packet), targets[index])
            received += _drained(each)
        tick, due = tick + 1, due + 0.02
        time.sleep(max(0.0, due - time.monotonic()))
    pipe.send((tick - first, received))


def _drained(bound: socket.socket) -> int:
    count = 0
    while True:
        try:
            bound.recv(2048)
        except BlockingIOError:
            return count
        count += 1


async def room(
    codec: str, members: int = MEMBERS, speaking: int = MEMBERS, seconds: float = SECONDS, heard: int = HEARD
) -> Figures:
    """One room of phones of which so many speak, and so many of those are heard at once, 0: all."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=phones, args=(there, codec, members, speaking))
    process.start()
    engine = EmbeddedEngine(EmbeddedConfig(webrtc=WebRtcConfig(listen=("127.0.0.1",), port=0), rtp_ports=(0, 0)))
    await engine.start()
    try:
        ports = await asyncio.to_thread(here.recv)
        targets = await _seated(engine, codec, ports, heard)
        here.send(targets)
        await asyncio.sleep(1.0)
        here.send("count")
        began, used = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        cpus = (time.process_time() - used) / (time.monotonic() - began)
        here.send("stop")
        ticks, received = await asyncio.to_thread(here.recv)
        return Figures(cpus, received / (ticks * members))
    finally:
        await engine.close()
        process.join(5)
        process.kill()


async def _seated(engine: EmbeddedEngine, codec: str, ports: Sequence[int], heard: int) -> list[tuple[str, int]]:
    number, encoding, _ = MAPS[codec]
    conference = engine.conference(speakers=heard)
    targets = []
    for index, port in enumerate(ports):
        call, program = f"call-{index}", Party("program", Kind.SERVICE, service="program")
        phone = Party("phone", Kind.RTP, private_source="127.0.0.1")
        offer = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP {number}\r\na=rtpmap:{number} {encoding}\r\n"
        )
        await engine.offer(call, phone, program, offer)
        answer = SessionDescription.parse(await engine.answer(call, program, phone, SERVICE_DESCRIPTION))
        targets.append(("127.0.0.1", answer.media[0].port))
        conference.seat(engine.audio(call, "program"), call)
    return targets


def main() -> bool:
    """Print the table; whether the goal was met."""
    results = []
    for codec, speaking in itertools.product(MAPS, (MEMBERS, FEW)):
        made = asyncio.run(room(codec, speaking=speaking))
        name = f"{MEMBERS} members of {codec}, of whom {speaking} speak"
        results.append(Result(name, made.cpus, "CPUs", goal=f"value <= {GOAL}"))
        results.append(Result(f"{name}: packets to each", 100 * made.packets, "%", goal=f"value >= {DELIVERED}"))
    return report("rooms", results)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
