"""What the embedded media engine costs: CPU for each relayed packet, for each transcoded frame, and memory a call.

The peers (aiortc as the browser, a UDP socket as the phone) run in a process of their own, so that the CPU
time of this one is the gateway's alone: sockets, SRTP and relay, under uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import statistics
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import uvloop

from bench.rtpengine import rtpengine
from bench.table import Result, medians, report
from gateway.media.embedded.audio.codecs import CODECS, make_encoder
from gateway.media.embedded.audio.pcm import tone
from gateway.media.embedded.audio.transcode import Transcoder
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.engine import Kind, MediaEngine, Party
from gateway.media.rtpengine.engine import RtpengineConfig, RtpengineEngine
from gateway.media.rtpengine.profiles import Policy

BROWSER, PHONE = Party("browser", Kind.WEBRTC), Party("phone", Kind.RTP)
RATES = (500, 1_500, 3_000)
"""Packets a second through one call; the goal is set for the last."""
SECONDS, BURST, RUNS = 1.0, 10, 3
CALLS = 50
DIRECTIONS = {"browser": "webrtc -> rtp", "phone": "rtp -> webrtc"}
"""By who speaks."""


# The peers' process


async def peers() -> None:
    """Speak JSON lines on standard input and output; see `Peers`."""
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

    browser = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connected = asyncio.Event()

    @browser.on("connectionstatechange")
    def on_change() -> None:
        if browser.connectionState == "connected":
            connected.set()

    transceiver = browser.addTransceiver("audio")
    codecs = RTCRtpSender.getCapabilities("audio").codecs
    transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == "audio/PCMU"])
    await browser.setLocalDescription(await browser.createOffer())
    phone = _Phone()
    loop = asyncio.get_running_loop()
    socket, _ = await loop.create_datagram_endpoint(lambda: phone, local_addr=("127.0.0.1", 0))
    port = socket.get_extra_info("sockname")[1]
    _say({"offer": browser.localDescription.sdp, "phone": _phone_sdp(port)})
    told = await _hear()
    await browser.setRemoteDescription(RTCSessionDescription(told["answer"], "answer"))
    dtls = transceiver.sender.transport
    await connected.wait()
    _say({"connected": True})
    heard = 0

    async def count(data: bytes, arrival_time_ms: int) -> None:
        nonlocal heard
        heard += 1

    # Neither decoded nor answered: the peer must keep up with many calls' packets.
    dtls._handle_rtp_data = count  # type: ignore[method-assign]  # the peer's own doing is not measured
    while True:
        told = await _hear()
        if told["do"] == "end":
            break
        before = heard, phone.heard
        address = ("127.0.0.1", told["port"])
        await _send(told["do"], told["packets"], told["rate"], told["first"], dtls, socket, address)
        _say({"heard": heard - before[0] if told["do"] == "phone" else phone.heard - before[1]})
    socket.close()
    await browser.close()


class _Phone(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard += 1


async def _send(
    who: str, packets: int, rate: int, first: int, dtls: Any, socket: Any, address: tuple[str, int]
) -> None:
    """Packets of 20 ms of PCMU, a burst every few ms, so that no socket buffer overflows."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for start in range(0, packets, BURST):
        for number in range(first + start, first + min(start + BURST, packets)):
            packet = struct.pack("!BBHII", 0x80, 0, number & 0xFFFF, number * 160 & 0xFFFFFFFF, 99) + bytes(160)
            if who == "phone":
                socket.sendto(packet, address)
            else:
                await dtls._send_rtp(packet)
        # A burst that is late is not made up for: more than 50 packets at once are a flood to rtpengine.
        due = max(due + BURST / rate, loop.time())
        await asyncio.sleep(max(0.0, due - loop.time()))
    await asyncio.sleep(0.3)


def _phone_sdp(port: int) -> str:
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", f"m=audio {port} RTP/AVP 0"]
    return "".join(f"{line}\r\n" for line in lines)


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


async def _hear() -> Any:
    return json.loads(await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline))


# The gateway's process


class Peers:
    """The other process, driven line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> Peers:
        pipe = asyncio.subprocess.PIPE
        arguments = (sys.executable, "-m", "bench.media", "--peers")
        return cls(await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe))

    async def hear(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            return json.loads(await self._process.stdout.readline())

    def say(self, told: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(told) + "\n").encode())

    async def close(self) -> None:
        self.say({"do": "end"})
        async with asyncio.timeout(20):
            await self._process.wait()


def configured() -> EmbeddedConfig:
    """Loopback, free ports, no limit in the way of a flood that is meant."""
    webrtc = WebRtcConfig(listen=("127.0.0.1",))
    return EmbeddedConfig(webrtc=webrtc, rtp_ports=(0, 0), max_packets_per_second=10 * RATES[-1], silence_after=0.0)


async def relayed(engine: MediaEngine, cpu: Callable[[], float]) -> dict[tuple[str, int], float]:
    """µs of CPU for each packet through one call, by direction and packets a second; `cpu` gives seconds spent."""
    await engine.start()
    processes = await Peers.start()
    costs: dict[tuple[str, int], list[float]] = {}
    try:
        told = await processes.hear()
        offer = await engine.offer("call", BROWSER, PHONE, told["offer"])
        port = int(next(line for line in offer.splitlines() if line.startswith("m=")).split()[1])
        processes.say({"answer": await engine.answer("call", PHONE, BROWSER, told["phone"])})
        await processes.hear()
        first = 1
        for who, rate, _ in itertools.product(DIRECTIONS, RATES, range(RUNS)):
            packets = round(rate * SECONDS)
            before = cpu()
            processes.say({"do": who, "packets": packets, "rate": rate, "first": first, "port": port})
            heard = (await processes.hear())["heard"]
            if heard < packets // 2:
                raise RuntimeError(f"only {heard} of {packets} packets came through")
            costs.setdefault((who, rate), []).append((cpu() - before) / heard * 1e6)
            first += packets
    finally:
        await processes.close()
        await engine.close()
    return {key: statistics.median(values) for key, values in costs.items()}


def relay_results() -> list[Result]:
    """Ours beside rtpengine's where it is installed, one after the other in this run."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ours = runner.run(relayed(EmbeddedEngine(configured()), time.process_time))
        theirs: dict[tuple[str, int], float] = {}
        binary = shutil.which("rtpengine")
        if binary is not None:
            with rtpengine(binary) as daemon:
                # Without events, since this browser offers none and rtpengine would look for tones in the audio.
                config = RtpengineConfig((daemon.address,), policy=Policy(telephone_event=False))
                theirs = runner.run(relayed(RtpengineEngine(config), daemon.cpu))
    results = []
    for (who, rate), cost in ours.items():
        peer = theirs.get((who, rate))
        name = f"relay a packet, {DIRECTIONS[who]}, {rate}/s"
        goal = "value <= 24" if rate == RATES[-1] else None
        if peer is None:
            results.append(Result(name, cost, "µs of CPU", goal))
        else:
            results.append(Result(name, cost, "µs of CPU", goal, "rtpengine, user space", peer, peer / cost))
    return results


def transcoded() -> list[Result]:
    """CPU for each frame of 20 ms, from every codec into every other."""
    results = []
    for source, target in itertools.permutations(sorted(CODECS), 2):
        encoder = make_encoder(source, 48000, 20)
        pcm = tone(440.0, -10.0, encoder.rate, 1.0)
        starts = range(0, len(pcm), encoder.frame)
        payloads = itertools.cycle([encoder.encode(pcm[start : start + encoder.frame]) for start in starts])
        transcoder = Transcoder(source, target, 96)

        numbers = itertools.count()

        def step(transcoder: Transcoder = transcoder, payloads: Any = payloads, numbers: Any = numbers) -> None:
            sequence = next(numbers)
            packet = MediaPacket(
                payload_type=0, marker=False, sequence_number=sequence & 0xFFFF, timestamp=0, payload=next(payloads),
                in_order=True, generation=1,
            )  # fmt: skip
            transcoder.handle(packet, sequence * 0.02)
            transcoder.tick(sequence * 0.02)

        taken = medians({"frame": step}, repeats=400)["frame"]
        results.append(Result(f"transcode 20 ms, {source} -> {target}", taken * 1e6, "µs", "value <= 400"))
    return results


async def set_up() -> Result:
    """An offer and its answer, descriptions and sockets together."""
    engine = EmbeddedEngine(configured())
    await engine.start()
    offer = _phone_sdp(41000)
    began = time.process_time()
    for number in range(CALLS):
        await engine.offer(f"call{number}", PHONE, BROWSER, offer)
        await engine.delete(f"call{number}")
    spent = (time.process_time() - began) / CALLS
    await engine.close()
    return Result("offer to a browser and delete", spent * 1e3, "ms of CPU", "value <= 10")


def main() -> bool:
    """Measure, print the table, write bench/results/media.json; False when a goal is missed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        set_up_result = runner.run(set_up())
    return report("media", [*relay_results(), set_up_result, *transcoded()])


if __name__ == "__main__":
    if "--peers" in sys.argv:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(peers())
        sys.exit(0)
    sys.exit(0 if main() else 1)
