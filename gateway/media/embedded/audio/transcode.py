"""One codec turned into another at the narrowest rate that both need, behind a playout buffer."""

from __future__ import annotations

import numpy as np

from gateway.media.embedded.audio.codecs import make_decoder, make_encoder, narrowest_rate
from gateway.media.embedded.audio.opus import OpusSettings
from gateway.media.embedded.audio.pcm import AudioError, Pcm
from gateway.media.embedded.audio.playout import Playout
from gateway.media.embedded.audio.resample import make_resampler
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.packets import NOTHING, Injected, Packets

TICK_MS = 20
_IDLE_TICKS = 250
"""Ticks without a frame after which a transcoder is called no more until a packet comes."""


QUIET = 32768.0**2 * 1e-6
"""Mean square, 60 dB below the loudest, below which there is nothing to hear."""
_BEFORE_PAUSE_MS, _LONGEST_PAUSE_MS = 200, 400
"""Quiet time that is still sent, and time between two packets after it, as libopus has them."""


class Pauses:
    """Which frames a listener who takes discontinuous transmission is not sent (RFC 6716 section 2.1.9)."""

    def __init__(self, frame_ms: int) -> None:
        self._frame_ms = frame_ms
        self._quiet = self._unsent = 0
        """Milliseconds in a row."""

    def skips(self, pcm: Pcm) -> bool:
        """Whether this frame, which is next, is one of them."""
        if np.mean(np.square(pcm, dtype=np.float32)) >= QUIET:
            self._quiet = self._unsent = 0
            return False
        self._quiet += self._frame_ms
        if self._quiet <= _BEFORE_PAUSE_MS:
            return False
        self._unsent = self._unsent + self._frame_ms if self._unsent + self._frame_ms < _LONGEST_PAUSE_MS else 0
        return self._unsent > 0


class Transcoder:
    """Packets in as they come, a packet out at every `frame_ms`; a `PacketHandler` that also plays."""

    def __init__(
        self, source: str, target: str, payload_type: int, frame_ms: int = 20, opus: OpusSettings | None = None
    ) -> None:
        """Codec names in lower case; `payload_type` is the outgoing one. Raises AudioError."""
        opus = opus or OpusSettings()
        self._decoder = make_decoder(source)
        rate = narrowest_rate(source, target)
        self._encoder = make_encoder(target, rate, frame_ms, opus)
        self._pauses = Pauses(frame_ms) if opus.discontinuous and target == "opus" else None
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
        self._passed = 0
        """Frames since the last packet that were not sent."""
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
            if self._pauses is not None and self._pauses.skips(pcm):
                self._passed += 1
                continue
            passed, self._passed = self._passed, 0
            advance = (passed + 1) * self._ticks if self._going else None
            try:
                payload = self._encoder.encode(pcm)
            except AudioError:
                continue
            out.append(Injected(self._payload_type, payload, advance, passed > 0 or not self._going))
            self._going = True
            self.frames += 1
        return tuple(out)

    def pause(self) -> None:
        """The packets of this tick went nowhere: the next stands where time is then."""
        self._going = False

    def _decode(self, payload: bytes) -> Pcm:
        pcm = self._decoder.decode(payload)
        return self._resampler.process(pcm) if self._resampler is not None else pcm
