"""What the engine plays itself: a pace for all, steady tones, silence for phones that would hear nothing."""

from __future__ import annotations

import asyncio
from functools import lru_cache

import numpy as np

from gateway.media.embedded.audio.codecs import CODECS, make_encoder, narrowest_rate
from gateway.media.embedded.audio.pcm import tone
from gateway.media.embedded.plane.relay import Relay
from gateway.media.embedded.sources.pacer import TICK_MS
from gateway.media.embedded.transport import MediaTransport, PacketSink

SERVICES = frozenset({"echo", "tone"})
LOOP_SECONDS = 1
"""A whole number of Hz has whole periods in it, so its end joins its beginning."""


@lru_cache(maxsize=64)
def loop_frames(codec: str, frequency: int, level_dbm0: float) -> tuple[bytes, ...]:
    """One second of a tone in frames of 20 ms, made to be repeated; frequency 0 is silence.

    The second of two encoded seconds is taken, so that a codec with memory meets its own end again.
    """
    rate = narrowest_rate(codec, codec) if codec != "opus" else 16000
    encoder = make_encoder(codec, rate, TICK_MS, complexity=10)
    seconds = 2 * LOOP_SECONDS
    if frequency:
        pcm = tone(frequency, level_dbm0, encoder.rate, seconds)
    else:
        pcm = np.zeros(encoder.rate * seconds, np.int16)
    frames = [encoder.encode(pcm[start : start + encoder.frame]) for start in range(0, len(pcm), encoder.frame)]
    return tuple(frames[len(frames) // 2 :])


def prepare_loops(frequency: int, level_dbm0: float) -> None:
    """Encode the tone and the silence of every codec; takes some tens of ms once a process."""
    for codec in sorted(CODECS):
        loop_frames(codec, frequency, level_dbm0)
        loop_frames(codec, 0, 0.0)


class LoopPlayer:
    """Plays a loop on a relay's outgoing stream; a `Player`."""

    __slots__ = ("_frames", "_index", "_payload_type", "_relay", "_step", "_timestamp", "_yields")

    def __init__(
        self, relay: Relay, payload_type: int, clock_rate: int, frames: tuple[bytes, ...], *, yields: bool = False
    ) -> None:
        """`yields`: stop for good as soon as another packet goes out on the relay."""
        self._relay = relay
        self._payload_type = payload_type
        self._step = clock_rate * TICK_MS // 1000
        self._frames = frames
        self._index = 0
        self._timestamp = 0
        self._yields = yields

    def __call__(self, now: float) -> bool:
        relay = self._relay
        if self._yields and self._index and relay.last_timestamp != self._timestamp:
            return False
        if not relay.open or not relay.target.ready:
            self._index = 0
            return not self._yields
        marker = 0
        if not self._index:
            self._timestamp = relay.timestamp_at(now)
            marker = 0x80
        else:
            self._timestamp = (self._timestamp + self._step) & 0xFFFFFFFF
        relay.emit(self._payload_type | marker, self._frames[self._index % len(self._frames)], self._timestamp, now)
        self._index += 1
        return True


class Delayed:
    """Sends RTP a while later, so that callers can tell the echo from their own voice; a `MediaTransport`.

    What waits is bounded by the packet rate a leg accepts.
    """

    def __init__(self, transport: MediaTransport, delay: float) -> None:
        """`delay` in s."""
        self.sink: PacketSink | None = None
        self._transport = transport
        self._delay = delay

    @property
    def ready(self) -> bool:
        """Whether the transport behind is."""
        return self._transport.ready

    def send_rtp(self, packet: bytes) -> None:
        """Send after the delay; dropped there when the call has ended meanwhile."""
        asyncio.get_running_loop().call_later(self._delay, self._transport.send_rtp, packet)

    def send_rtcp(self, packet: bytes) -> None:
        """Send at once."""
        self._transport.send_rtcp(packet)

    def close(self) -> None:
        """The transport behind is closed by whoever made it."""


class Nowhere:
    """The transport of a service that listens to nobody; a `MediaTransport`."""

    ready = True

    def __init__(self) -> None:
        self.sink: PacketSink | None = None

    def send_rtp(self, packet: bytes) -> None:
        """Heard by nobody."""

    def send_rtcp(self, packet: bytes) -> None:
        """Heard by nobody."""

    def close(self) -> None:
        """Holds nothing."""
