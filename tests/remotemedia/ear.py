"""What a transport of gateway.remotemedia hears, and one that is started for a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import numpy as np

from gateway.remotemedia import WebRtcTransport, WebRtcTransportConfig
from gateway.remotemedia.media import FRAME, RATE, Samples
from gateway.web.app import WebServer


def tone(hz: float, frames: int) -> Samples:
    """A sine wave at half level."""
    times = np.arange(frames * FRAME) / RATE
    return (np.sin(2 * np.pi * hz * times) / 2).astype(np.float32)


class Ear:
    """Collects what a transport hears until a second of sound is there."""

    def __init__(self, transport: WebRtcTransport) -> None:
        self.parts: list[Samples] = []
        self.enough = asyncio.Event()
        self.data: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.files: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        transport.callbacks.on_audio = self._hear
        transport.callbacks.on_data = lambda _, data: self.data.put_nowait(data)
        transport.callbacks.on_file = lambda _, name, content: self.files.put_nowait((name, content))

    def _hear(self, _: str, samples: Samples) -> None:
        if np.abs(samples).max() > 0.1:
            self.parts.append(samples)
        if sum(map(len, self.parts)) > RATE // 2:
            self.enough.set()

    async def frequency(self) -> float:
        """The loudest tone, in Hz."""
        await asyncio.wait_for(self.enough.wait(), 30)
        heard = np.concatenate(self.parts)
        spectrum = np.abs(np.fft.rfft(heard * np.hanning(heard.size)))
        return float(np.argmax(spectrum) * RATE / heard.size)


@contextlib.asynccontextmanager
async def transport(server: WebServer, peer_id: str, **changes: int) -> AsyncIterator[WebRtcTransport]:
    """A started transport."""
    config = WebRtcTransportConfig(signaling_url=f"ws://127.0.0.1:{server.port}", peer_id=peer_id, **changes)  # type: ignore[arg-type]
    made = WebRtcTransport(config)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
