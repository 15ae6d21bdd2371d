"""A picture that takes every bit it gets, and a phone that says how many it may have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

import pytest

from gateway.media.embedded.plane.feedback import temporary_limit
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.plane.rtcp import RTPFB, TMMBR, Feedback, ReceiverReport
from tests.media.engine_support import is_rtcp
from tests.media.video_support import VideoPhone

NOISE = """
  const canvas = document.createElement("canvas"), noise = document.createElement("canvas");
  [canvas.width, canvas.height, noise.width, noise.height] = [640, 480, 160, 120];
  const drawing = canvas.getContext("2d"), grains = noise.getContext("2d"), image = grains.createImageData(160, 120);
  drawing.imageSmoothingEnabled = false;
  setInterval(() => {
    crypto.getRandomValues(image.data.subarray(0, 65536));
    for (let at = 3; at < image.data.length; at += 4) image.data[at] = 255;
    grains.putImageData(image, 0, 0);
    drawing.drawImage(noise, 0, 0, 640, 480);
  }, 66);
  const sound = new AudioContext().createMediaStreamDestination().stream.getAudioTracks()[0];
  const media = new MediaStream([sound, ...canvas.captureStream(15).getVideoTracks()]);
"""
"""A script that makes `media`: silence, and 15 pictures a second that have nothing to do with each other."""
_SSRC = 0x77
_LONGEST = 90
"""Seconds."""


class LimitingPhone(VideoPhone):
    """A phone with a screen for VP8 that shows nothing, and asks for less by TMMBR; an async context manager."""

    def __init__(self) -> None:
        super().__init__(0, codec="VP8", profile="RTP/AVPF", extra=("a=rtcp-fb:* ccm tmmbr",))

    async def __aenter__(self) -> LimitingPhone:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def limit(self, bits: int) -> None:
        """Ask for so many bits a second at most from now on."""
        ssrc = RtpPacket.parse(next(each for each in self.packets if not is_rtcp(each))).ssrc
        self.send_rtcp(
            bytes(ReceiverReport(_SSRC)) + bytes(Feedback(RTPFB, TMMBR, _SSRC, 0, temporary_limit(ssrc, bits)))
        )

    async def gets(self, holds: Callable[[float], bool]) -> None:
        """Wait for a second in which so many bits come."""
        loop, found = asyncio.get_running_loop(), list[int]()
        for _ in range(_LONGEST):
            begun, known = loop.time(), len(self.packets)
            await asyncio.sleep(1.0)
            bits = 8 * sum(map(len, self.packets[known:])) / (loop.time() - begun)
            if holds(bits):
                return
            found.append(round(bits))
        pytest.fail(f"in each second there came {found} bits")
