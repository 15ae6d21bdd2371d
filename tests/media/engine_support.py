"""Peers for the engine's tests: a phone that is a plain UDP socket, a browser that is aiortc."""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextvars import ContextVar
from typing import Any

import av
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from numpy.typing import NDArray

from gateway.demo.aiortc_browser import LOCAL
from gateway.media.embedded.audio.codecs import make_decoder, make_encoder
from gateway.media.embedded.audio.pcm import Pcm, tone
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.reports import Reporter
from gateway.media.embedded.resuming import values_of
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.engine import (
    MediaEvent,
)
from sdp import SessionDescription, read_codecs

MAPS = {
    "pcmu": "0 PCMU/8000",
    "pcma": "8 PCMA/8000",
    "g722": "9 G722/8000",
    "opus": "107 opus/48000/2",
    "event": "101 telephone-event/8000",
    "event48": "102 telephone-event/48000",
    "cn": "13 CN/8000",
}


def is_rtcp(packet: bytes) -> bool:
    """Whether a datagram on a muxed port is RTCP: second octet 192 to 223 (RFC 5761 section 4)."""
    return len(packet) > 1 and 192 <= packet[1] <= 223


def config(*, port: int = 0, **changes: Any) -> EmbeddedConfig:
    """Loopback, any free ports."""
    return EmbeddedConfig(webrtc=WebRtcConfig(listen=("127.0.0.1",), port=port), rtp_ports=(0, 0), **changes)


PLANE: ContextVar[Callable[[], Plane] | None] = ContextVar("PLANE", default=None)
"""What makes the plane of the engines under test; None: the one in this process."""


def handlers(engine: EmbeddedEngine, call_id: str) -> dict[str, int]:
    """Transcoders and event readers that take each party's packets."""
    return {tag: len(party.stations._made) for tag, party in engine._session(call_id)._parties.items()}


class Reports:
    """Counts what the engines read of their peers' RTCP."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = 0
        """Compound packets."""
        read = Reporter.read

        def counted(reporter: Reporter, *arguments: Any) -> tuple[int, ...]:
            self.read += 1
            return read(reporter, *arguments)

        monkeypatch.setattr(Reporter, "read", counted)


@contextlib.asynccontextmanager
async def running(
    settings: EmbeddedConfig | None = None,
    clock: Callable[[], float] = time.monotonic,
    wall_clock: Callable[[], float] = time.time,
) -> AsyncIterator[tuple[EmbeddedEngine, list[MediaEvent]]]:
    """A started engine and the events it gives."""
    engine = EmbeddedEngine(settings or config(), clock=clock, wall_clock=wall_clock, make_plane=PLANE.get())
    events: list[MediaEvent] = []
    engine.subscribe(events.append)
    await engine.start()
    try:
        yield engine, events
    finally:
        await engine.close()


def written_down(engine: EmbeddedEngine) -> Any:
    """The call as a record has it, of either plane."""
    return json.loads(json.dumps(values_of({each.party.tag: each for each in engine._session("call").parties})))


def audio_of(sdp: str) -> tuple[str, int, list[str]]:
    """Address, port and formats of the first section."""
    parsed = SessionDescription.parse(sdp)
    media = parsed.media[0]
    connection = parsed.connection_of(media)
    assert connection is not None
    return connection.address, media.port, list(media.formats)


class Phone(asyncio.DatagramProtocol):
    """One RTP socket, and the RTCP one beside it."""

    def __init__(self, codecs: Iterable[str] = ("pcmu", "event"), ssrc: int = 0x1234) -> None:
        self.codecs = tuple(codecs)
        self.packets: list[tuple[bytes, Any]] = []
        self.rtcp: list[bytes] = []
        self.remote: Any = None
        self.ssrc = ssrc
        self.sequence_number = 65500
        self.timestamp = 0xFFFFF000
        self.version = 0
        self.numbers: dict[str, int | None] = {}
        """Payload types to send, as the gateway numbers them."""
        self._transport: Any = None
        self._rtcp: Any = None
        self._sending: asyncio.Task[None] | None = None

    async def open(self, host: str = "127.0.0.1") -> Phone:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0))
        self._rtcp, _ = await loop.create_datagram_endpoint(lambda: _Rtcp(self.rtcp), local_addr=(host, 0))
        self.host = host
        self.port: int = self._transport.get_extra_info("sockname")[1]
        self.rtcp_port: int = self._rtcp.get_extra_info("sockname")[1]
        return self

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if is_rtcp(data):
            self.rtcp.append(data)
        else:
            self.packets.append((data, addr))

    def sdp(self, *, direction: str = "sendrecv", address: str | None = None, extra: Iterable[str] = ()) -> str:
        """An offer or an answer of this phone."""
        self.version += 1
        maps = [MAPS[name] for name in self.codecs]
        host = address or self.host
        where = f"IP{6 if ':' in host else 4} {host}"
        lines = [
            "v=0",
            f"o=phone 1 {self.version} IN {where}",
            "s=-",
            f"c=IN {where}",
            "t=0 0",
            f"m=audio {self.port} RTP/AVP " + " ".join(each.split()[0] for each in maps),
            *[f"a=rtpmap:{each}" for each in maps],
            f"a=rtcp:{self.rtcp_port}",
            f"a={direction}",
            *extra,
        ]
        return "".join(f"{line}\r\n" for line in lines)

    def take(self, sdp: str) -> None:
        """Send where this description says."""
        address, port, _ = audio_of(sdp)
        self.remote = (address, port)
        named = {
            codec.rtpmap.lower(): codec.payload_type for codec in read_codecs(SessionDescription.parse(sdp).media[0])
        }
        self.numbers = {name: named.get(MAPS[name].split()[1].lower()) for name in self.codecs}

    def send(self, payload: bytes, payload_type: int, *, marker: bool = False, step: int = 160, to: Any = None) -> None:
        """One packet."""
        packet = RtpPacket(payload_type, self.sequence_number, self.timestamp, self.ssrc, payload, marker)
        self.sequence_number = (self.sequence_number + 1) & 0xFFFF
        self.timestamp = (self.timestamp + step) & 0xFFFFFFFF
        self._transport.sendto(bytes(packet), to or self.remote)

    def send_raw(self, data: bytes, to: Any = None) -> None:
        self._transport.sendto(data, to or self.remote)

    def send_rtcp(self, data: bytes) -> None:
        self._rtcp.sendto(data, (self.remote[0], self.remote[1] + 1))

    def press(self, digit: str, codec: str = "event") -> None:
        """Send a digit of 60 ms (RFC 4733), its end three times."""
        number = self.numbers[codec]
        assert number is not None
        for duration in (160, 320, 480, 480, 480):
            end = 0x80 if duration == 480 else 0
            self.send(bytes(("0123456789*#".index(digit), end | 10, duration >> 8, duration & 255)), number, step=0)

    def play(self, frequency: float, codec: str = "pcmu") -> None:
        """Send a tone from now on, 20 ms a packet."""
        self._sending = asyncio.ensure_future(self._play(frequency, codec))

    async def _play(self, frequency: float, codec: str) -> None:
        loop = asyncio.get_running_loop()
        encoder = make_encoder(codec, 16000, 20)
        pcm = tone(frequency, -10, encoder.rate, 1.0)
        number, step = self.numbers[codec], 960 if codec == "opus" else 160
        due = loop.time()
        start = 0
        assert number is not None
        while True:
            self.send(encoder.encode(pcm[start : start + encoder.frame]), number, step=step)
            start = (start + encoder.frame) % encoder.rate
            due += 0.02
            await asyncio.sleep(max(0.0, due - loop.time()))

    def heard(self, codec: str, number: int | None = None) -> tuple[Pcm, int]:
        """The audio received in that codec, and its rate."""
        decoder = make_decoder(codec)
        wanted = int(MAPS[codec].split()[0]) if number is None else number
        parsed = [RtpPacket.parse(data) for data, _ in self.packets]
        parts = [decoder.decode(each.payload) for each in parsed if each.payload_type == wanted]
        return (np.concatenate(parts) if parts else np.zeros(0, np.int16)), decoder.rate

    async def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sending
        self._transport.close()
        self._rtcp.close()
        await asyncio.sleep(0)


class _Rtcp(asyncio.DatagramProtocol):
    def __init__(self, received: list[bytes]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._received.append(data)


def frequency_of(pcm: NDArray[Any], rate: int) -> float:
    """Hz of the strongest tone in the last second, 0 for silence or too little."""
    last = pcm[-rate:].astype(np.float64)
    if len(last) < rate // 4 or np.abs(last).max() < 300:
        return 0.0
    spectrum = np.abs(np.fft.rfft(last * np.hanning(len(last))))
    return float(np.argmax(spectrum) * rate / len(last))


class ToneTrack(MediaStreamTrack):
    """A synthetic microphone."""

    kind = "audio"

    def __init__(self, frequency: float) -> None:
        super().__init__()
        self._pcm = tone(frequency, -10, 48000, 1.0)
        self._start = 0
        self._due: float | None = None

    async def recv(self) -> Any:
        loop = asyncio.get_running_loop()
        self._due = loop.time() if self._due is None else self._due + 0.02
        await asyncio.sleep(max(0.0, self._due - loop.time()))
        offset = self._start % 48000
        frame = av.AudioFrame(format="s16", layout="mono", samples=960)
        frame.planes[0].update(self._pcm[offset : offset + 960].tobytes())
        frame.sample_rate = 48000
        frame.pts = self._start
        frame.time_base = fractions.Fraction(1, 48000)
        self._start += 960
        return frame


class Browser:
    """aiortc as a browser with a microphone that hums."""

    def __init__(self, frequency: float = 600.0, codecs: Iterable[str] = ("opus",)) -> None:
        self.peer = RTCPeerConnection(LOCAL)
        self.frames: list[NDArray[Any]] = []
        self.rate = 48000
        self._codecs = {name.lower() for name in codecs}
        self._frequency = frequency
        self._listening: list[asyncio.Task[None]] = []
        self.peer.on("track", self._on_track)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._listening.append(asyncio.ensure_future(self._listen(track)))

    async def _listen(self, track: Any) -> None:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48000)
        with contextlib.suppress(Exception):
            while True:
                for frame in resampler.resample(await track.recv()):
                    self.frames.append(frame.to_ndarray().reshape(-1))

    def _prefer(self) -> None:
        capabilities = RTCRtpSender.getCapabilities("audio").codecs
        wanted = [codec for codec in capabilities if codec.mimeType.split("/")[1].lower() in self._codecs]
        for transceiver in self.peer.getTransceivers():
            transceiver.setCodecPreferences(wanted)

    async def offer(self) -> str:
        if not self.peer.getTransceivers():
            self.peer.addTrack(ToneTrack(self._frequency))
        self._prefer()
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def take_answer(self, sdp: str) -> None:
        await self.peer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def answer(self, offer: str) -> str:
        await self.peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        self.peer.addTrack(ToneTrack(self._frequency))
        self._prefer()
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        return self.peer.localDescription.sdp

    def heard(self) -> float:
        """Hz of what came last."""
        return frequency_of(np.concatenate(self.frames), 48000) if self.frames else 0.0

    async def close(self) -> None:
        await self.peer.close()
        for task in self._listening:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(condition: Any, seconds: float = 30.0) -> None:
    """Wait for something to become true; the test fails when it does not in time."""
    loop = asyncio.get_running_loop()
    reached = loop.create_future()

    def look(pause: float) -> None:
        if reached.done():
            return
        if condition():
            reached.set_result(None)
        else:
            loop.call_later(pause, look, min(2 * pause, 0.02))

    look(0.001)
    await asyncio.wait_for(reached, seconds)


def browser_sdp(
    *,
    ufrag: str = "abcd",
    setup: str = "actpass",
    direction: str = "sendrecv",
    codecs: Iterable[str] = ("opus", "pcmu"),
) -> str:
    """A description as a browser writes it, with audio only."""
    maps = {"opus": "111 opus/48000/2", "pcmu": "0 PCMU/8000", "pcma": "8 PCMA/8000", "g722": "9 G722/8000"}
    named = [maps[name] for name in codecs] + ["110 telephone-event/48000", "126 telephone-event/8000"]
    lines = [
        "v=0",
        "o=- 46117317 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF " + " ".join(each.split()[0] for each in named),
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=ice-ufrag:{ufrag}",
        "a=ice-pwd:" + 6 * "pass",
        "a=ice-options:trickle",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        f"a=setup:{setup}",
        "a=mid:0",
        f"a={direction}",
        "a=rtcp-mux",
        *[f"a=rtpmap:{each}" for each in named],
    ]
    return "".join(f"{line}\r\n" for line in lines)


def phone_sdp(
    *,
    host: str = "127.0.0.1",
    port: int = 41000,
    codecs: Iterable[str] = ("pcmu", "event"),
    direction: str = "sendrecv",
    version: int = 1,
) -> str:
    """A description as a desk phone writes it."""
    maps = [MAPS[name] for name in codecs]
    lines = [
        "v=0",
        f"o=phone 1 {version} IN IP4 {host}",
        "s=-",
        f"c=IN IP4 {host}",
        "t=0 0",
        f"m=audio {port} RTP/AVP " + " ".join(each.split()[0] for each in maps),
        *[f"a=rtpmap:{each}" for each in maps],
        f"a={direction}",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def parsed(phone: Phone) -> list[RtpPacket]:
    return [RtpPacket.parse(data) for data, _ in phone.packets]
