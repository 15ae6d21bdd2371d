"""One codec turned into another at the narrowest rate that both need, behind a playout buffer."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.media.embedded.audio.codecs import make_decoder, make_encoder, narrowest_rate
from gateway.media.embedded.audio.pcm import AudioError, Pcm
from gateway.media.embedded.audio.playout import Playout
from gateway.media.embedded.audio.resample import make_resampler
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.packets import NOTHING, Injected, Packets

TICK_MS = 20
_IDLE_TICKS = 250
"""Ticks without a frame after which a transcoder is called no more until a packet comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpusSettings:
    """How Opus is encoded."""

    complexity: int = 5
    """0 to 10."""
    bit_rate: int = 32_000
    """Bits a second."""


class Transcoder:
    """Packets in as they come, a packet out at every `frame_ms`; a `PacketHandler` that also plays."""

    def __init__(
        self, source: str, target: str, payload_type: int, frame_ms: int = 20, opus: OpusSettings | None = None
    ) -> None:
        """Codec names in lower case; `payload_type` is the outgoing one. Raises AudioError."""
        opus = opus or OpusSettings()
        self._decoder = make_decoder(source)
        rate = narrowest_rate(source, target)
        self._encoder = make_encoder(target, rate, frame_ms, complexity=opus.complexity, bit_rate=opus.bit_rate)
        self._resampler = make_resampler(self._decoder.rate, self._encoder.rate)
        self._payload_type = payload_type
        self._frame_ms = frame_ms
        clock_out = 48000 if target == "opus" else 8000
        self._ticks = self._encoder.frame * clock_out // self._encoder.rate
        self.playout = Playout(self._decode, self._encoder.rate)
        self.frames = 0
        """Packets made."""
        self._owed = 0
        """Milliseconds of audio that the ticks until now stand for and no packet has yet."""
        self._going = False
        self._idle = 0

    @property
    def resting(self) -> bool:
        """Whether nothing has come for so long that ticks can stop."""
        return self._idle >= _IDLE_TICKS

    def handle(self, packet: MediaPacket, now: float) -> Packets:
        """Keep one packet until its tick."""
        self._idle = 0
        self.playout.put(packet.sequence_number, packet.generation, packet.payload, now)
        return NOTHING

    def tick(self, now: float) -> Packets:
        """What 20 ms more make: nothing, or a packet or two."""
        self._owed += TICK_MS
        out: list[Injected] = []
        while self._owed >= self._frame_ms:
            self._owed -= self._frame_ms
            pcm = self.playout.frame(self._encoder.frame, now)
            if pcm is None:
                self._going = False
                self._idle += 1
                continue
            self._idle = 0
            advance, marker = (self._ticks, False) if self._going else (None, True)
            try:
                payload = self._encoder.encode(pcm)
            except AudioError:
                continue
            self._going = True
            self.frames += 1
            out.append(Injected(self._payload_type, payload, advance, marker))
        return tuple(out)

    def pause(self) -> None:
        """The packets of this tick went nowhere: the next stands where time is then."""
        self._going = False

    def _decode(self, payload: bytes) -> Pcm:
        pcm = self._decoder.decode(payload)
        return self._resampler.process(pcm) if self._resampler is not None else pcm
