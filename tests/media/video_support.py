"""Peers with a picture: aiortc as a browser that shows one grey, a phone on plain RTP that does the same in H.264."""

from __future__ import annotations

import asyncio
import contextlib
import fractions
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import av
import pytest
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.codecs.h264 import H264Decoder, H264Encoder, H264PayloadDescriptor
from aiortc.codecs.vpx import Vp8Decoder, Vp8Encoder, VpxPayloadDescriptor
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamTrack

from gateway.demo.aiortc_browser import LOCAL
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.plane.values import FlowSnapshot
from gateway.media.embedded.video import VideoStream
from sdp import SessionDescription
from tests.media.engine_support import ToneTrack, is_rtcp

WIDTH, HEIGHT, RATE = 320, 240, 15
"""Of the pictures; frames a second."""
CODECS: dict[str, tuple[Any, Any, Any]] = {
    "H264": (H264Encoder, H264Decoder, H264PayloadDescriptor),
    "VP8": (Vp8Encoder, Vp8Decoder, VpxPayloadDescriptor),
}
"""What encodes, decodes and takes a packet apart."""
H264 = "profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1"


def picture(luma: int, number: int) -> av.VideoFrame:
    """One grey picture; a line that moves makes every one another."""
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for index, plane in enumerate(frame.planes):
        plane.update(bytes([luma if index == 0 else 128]) * plane.buffer_size)
    rows = bytearray(bytes(frame.planes[0]))
    row = frame.planes[0].line_size
    rows[number % HEIGHT * row : (number % HEIGHT + 1) * row] = bytes([16]) * row
    frame.planes[0].update(bytes(rows))
    return frame


def grey_of(frame: Any) -> int:
    """The luma that most of a picture has."""
    plane = frame.reformat(format="yuv420p").planes[0]
    values = sorted(bytes(plane)[:: max(1, plane.buffer_size // 1000)])
    return values[len(values) // 2]


def sending(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """Have the gateway find that everybody sends so many bits a second: what is shown here has few."""
    note = VideoStream.note

    def noted(stream: VideoStream, snapshot: FlowSnapshot) -> None:
        note(stream, snapshot)
        stream.rate = float(bits)

    monkeypatch.setattr(VideoStream, "note", noted)


class GreyTrack(MediaStreamTrack):
    """A synthetic camera."""

    kind = "video"

    def __init__(self, luma: int) -> None:
        super().__init__()
        self._luma, self._number = luma, 0
        self._due: float | None = None

    async def recv(self) -> Any:
        loop = asyncio.get_running_loop()
        self._due = loop.time() if self._due is None else self._due + 1 / RATE
        await asyncio.sleep(max(0.0, self._due - loop.time()))
        frame = picture(self._luma, self._number)
        frame.pts, frame.time_base = self._number * 90_000 // RATE, fractions.Fraction(1, 90_000)
        self._number += 1
        return frame


class VideoBrowser:
    """A browser with a microphone and a camera."""

    def __init__(self, luma: int, codecs: Iterable[str] = ("vp8",)) -> None:
        self.peer = RTCPeerConnection(LOCAL)
        self.seen: list[int] = []
        """The grey of each picture that came."""
        self._luma, self._codecs = luma, {name.lower() for name in (*codecs, "rtx")}
        self._watching: list[asyncio.Task[None]] = []
        self.peer.on("track", self._on_track)

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "video":
            self._watching.append(asyncio.ensure_future(self._watch(track)))

    async def _watch(self, track: Any) -> None:
        with contextlib.suppress(Exception):
            while True:
                self.seen.append(grey_of(await track.recv()))

    def _prefer(self) -> None:
        capabilities = RTCRtpSender.getCapabilities("video").codecs
        wanted = [codec for codec in capabilities if codec.mimeType.split("/")[1].lower() in self._codecs]
        for transceiver in self.peer.getTransceivers():
            if transceiver.kind == "video":
                transceiver.setCodecPreferences(wanted)

    async def offer(self) -> str:
        if not self.peer.getTransceivers():
            self.peer.addTrack(ToneTrack(600.0))
            self.peer.addTrack(GreyTrack(self._luma))
        self._prefer()
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def take_answer(self, sdp: str) -> None:
        await self.peer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def answer(self, offer: str) -> str:
        await self.peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        self.peer.addTrack(ToneTrack(700.0))
        self.peer.addTrack(GreyTrack(self._luma))
        self._prefer()
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        return self.peer.localDescription.sdp

    def sees(self, luma: int) -> bool:
        """Whether the last pictures are that grey."""
        return len(self.seen) >= 5 and all(abs(each - luma) < 12 for each in self.seen[-5:])

    async def close(self) -> None:
        await self.peer.close()
        for task in self._watching:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, received: list[bytes]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._received.append(data)


class VideoPhone:
    """A desk phone with a screen: PCMU that it leaves silent, and H.264 or VP8 in plain RTP."""

    def __init__(
        self,
        luma: int,
        *,
        codec: str = "H264",
        profile: str = "RTP/AVP",
        extra: Iterable[str] = (),
        bandwidth: str = "",
    ) -> None:
        self.packets: list[bytes] = []
        self.rtcp: list[bytes] = []
        self.remote: tuple[str, int] | None = None
        self.payload_type = 97
        self._luma, self._codec, self._profile, self._extra = luma, codec, profile, tuple(extra)
        self._bandwidth = [bandwidth] if bandwidth else []
        self._transports: list[Any] = []
        self._showing: asyncio.Task[None] | None = None
        self._key_frame = True
        self._version = 0

    async def open(self) -> VideoPhone:
        loop = asyncio.get_running_loop()
        for received in (list[bytes](), list[bytes](), self.packets, self.rtcp):
            made = await loop.create_datagram_endpoint(partial(_Receiver, received), local_addr=("127.0.0.1", 0))
            self._transports.append(made[0])
        self.ports = [each.get_extra_info("sockname")[1] for each in self._transports]
        return self

    def sdp(self, direction: str = "sendrecv", *, video: bool = True) -> str:
        """An offer or an answer."""
        self._version += 1
        audio, audio_rtcp, port, rtcp = self.ports
        lines = [
            "v=0", f"o=phone 1 {self._version} IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
            f"m=audio {audio} RTP/AVP 0", "a=rtpmap:0 PCMU/8000", f"a=rtcp:{audio_rtcp}", "a=sendrecv",
            f"m=video {port if video else 0} {self._profile} {self.payload_type}",
            *self._bandwidth,
            f"a=rtpmap:{self.payload_type} {self._codec}/90000",
            *([f"a=fmtp:{self.payload_type} {H264}"] if self._codec == "H264" else []),
            f"a=rtcp:{rtcp}", f"a={direction}", *self._extra,
        ]  # fmt: skip
        return "".join(f"{line}\r\n" for line in lines)

    def take(self, sdp: str) -> None:
        """Send where this description says."""
        description = SessionDescription.parse(sdp)
        media = next(each for each in description.media if each.kind == "video")
        connection = description.connection_of(media)
        assert connection is not None
        self.remote = connection.address, media.port
        self.payload_type = int(next(v for v in media.values("rtpmap") if self._codec in v).split()[0])

    def send_rtcp(self, data: bytes) -> None:
        assert self.remote is not None
        self._transports[3].sendto(data, (self.remote[0], self.remote[1] + 1))

    def show(self) -> None:
        """Send pictures from now on."""
        self._showing = asyncio.ensure_future(self._show())

    def show_once(self, number: int, ssrc: int = 0x77) -> None:
        """Send one packet, which is no whole picture."""
        packet = RtpPacket(self.payload_type, 1000 + number, 3000 * number, ssrc, b"\x61\x00", True)
        self._transports[2].sendto(bytes(packet), self.remote)

    async def _show(self) -> None:
        encoder, number, due = CODECS[self._codec][0](), 1000, asyncio.get_running_loop().time()
        for count in range(100_000):
            frame = picture(self._luma, count)
            frame.pts, frame.time_base = count * 90_000 // RATE, fractions.Fraction(1, 90_000)
            payloads, _ = encoder.encode(frame, force_keyframe=self._key_frame)
            self._key_frame = False
            for place, payload in enumerate(payloads):
                last = place == len(payloads) - 1
                packet = RtpPacket(self.payload_type, number & 0xFFFF, frame.pts, 0x77, payload, last)
                self._transports[2].sendto(bytes(packet), self.remote)
                number += 1
            due += 1 / RATE
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))

    def key_frame(self) -> None:
        """Let the next picture be a whole one."""
        self._key_frame = True

    def pictures(self) -> Iterator[Any]:
        """Those that the packets so far make."""
        _, make_decoder, descriptor = CODECS[self._codec]
        decoder, data = make_decoder(), b""
        for packet in (RtpPacket.parse(each) for each in self.packets if not is_rtcp(each)):
            data += descriptor.parse(packet.payload)[1]
            if packet.marker:
                with contextlib.suppress(av.error.FFmpegError):
                    yield from decoder.decode(JitterFrame(data, packet.timestamp))
                data = b""

    def seen(self) -> list[int]:
        """The grey of each picture."""
        return [grey_of(each) for each in self.pictures()]

    def sees(self, luma: int) -> bool:
        """Whether the last pictures are that grey."""
        seen = self.seen()
        return len(seen) >= 5 and all(abs(each - luma) < 12 for each in seen[-5:])

    async def close(self) -> None:
        if self._showing is not None:
            self._showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._showing
        for each in self._transports:
            each.close()
        await asyncio.sleep(0)
