"""What is sent: audio that is queued in microseconds and encoded once for many, and video frames."""

from __future__ import annotations

import asyncio
import fractions
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from gateway.remotemedia.errors import TransportError

RATE = 48_000
"""Samples a second."""
FRAME = 960
"""Samples of 20 ms."""
_FRAME_SECONDS = FRAME / RATE
_MAX_QUEUE = 250
"""Frames that may wait (5 s); beyond it the oldest is dropped."""
_TIME_BASE = fractions.Fraction(1, RATE)
_VIDEO_CLOCK = fractions.Fraction(1, 90_000)

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioEncoderConfig:
    """Opus."""

    bitrate: int = 32_000
    """bit/s."""
    complexity: int = 5
    """0 to 10."""


class OpusEncoder:
    """Float samples to Opus packets of 20 ms, one stream."""

    def __init__(self, config: AudioEncoderConfig | None = None) -> None:
        config = config or AudioEncoderConfig()
        context = av.CodecContext.create("libopus", "w")
        assert isinstance(context, av.AudioCodecContext)
        context.bit_rate = config.bitrate
        context.format = av.AudioFormat("flt")
        context.layout = av.AudioLayout("mono")
        context.sample_rate = RATE
        context.options = {"application": "voip", "compression_level": str(config.complexity)}
        self._context = context
        self._pts = 0

    def encode(self, samples: Samples) -> bytes:
        """One packet of exactly 960 samples, -1 to 1."""
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._pts, _TIME_BASE
        self._pts += FRAME
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


@cache
def silence() -> bytes:
    """20 ms of nothing, encoded once for everybody: a peer that is not spoken to costs no encoder."""
    return OpusEncoder().encode(np.zeros(FRAME, np.float32))


def checked(samples: Samples) -> Samples:
    """Float32, one dimension, a multiple of 960. Raises TransportError."""
    if samples.ndim != 1 or samples.dtype != np.float32 or not samples.size or samples.size % FRAME:
        raise TransportError(f"audio is float32 samples in one dimension, a multiple of {FRAME} (20 ms at 48 kHz)")
    return samples


class AudioSource(MediaStreamTrack):
    """A track of what was queued, silence where nothing was, paced by the clock; gives Opus packets."""

    kind = "audio"

    def __init__(self, config: AudioEncoderConfig | None = None) -> None:
        super().__init__()
        self._encoder = OpusEncoder(config)
        self._queue: deque[Samples | bytes] = deque(maxlen=_MAX_QUEUE)
        self._started = 0.0
        self._frames = 0

    def put(self, samples: Samples) -> None:
        """Queue whole frames; encoded when their time comes."""
        for offset in range(0, samples.size, FRAME):
            self._queue.append(samples[offset : offset + FRAME])

    def put_encoded(self, packet: bytes) -> None:
        """Queue 20 ms that are encoded already, once for many peers."""
        self._queue.append(packet)

    async def recv(self) -> av.Packet[Any]:
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        self._started = self._started or loop.time()
        await asyncio.sleep(max(0.0, self._started + self._frames * _FRAME_SECONDS - loop.time()))
        waiting = self._queue.popleft() if self._queue else silence()
        packet: av.Packet[Any] = av.Packet(waiting if isinstance(waiting, bytes) else self._encoder.encode(waiting))
        packet.pts, packet.time_base = self._frames * FRAME, _TIME_BASE
        self._frames += 1
        return packet


class VideoSource(MediaStreamTrack):
    """A track of the latest frame that was given; one that was not fetched in time is replaced."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._latest: asyncio.Queue[av.VideoFrame] = asyncio.Queue(maxsize=1)
        self._started = 0.0

    def put(self, frame: av.VideoFrame | NDArray[np.uint8]) -> None:
        """An av.VideoFrame, or RGB pixels of shape (height, width, 3)."""
        if not isinstance(frame, av.VideoFrame):
            frame = av.VideoFrame.from_ndarray(frame, format="rgb24")
        if self._latest.full():
            self._latest.get_nowait()
        self._latest.put_nowait(frame)

    async def recv(self) -> av.VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        frame = await self._latest.get()
        now = asyncio.get_running_loop().time()
        self._started = self._started or now
        frame.pts, frame.time_base = int((now - self._started) / _VIDEO_CLOCK), _VIDEO_CLOCK
        return frame
