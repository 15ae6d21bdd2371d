"""One codec turned into another, packet by packet, at the narrowest rate that both need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway.media.embedded.audio.codecs import make_decoder, make_encoder, narrowest_rate
from gateway.media.embedded.audio.pcm import AudioError, Pcm
from gateway.media.embedded.audio.resample import make_resampler
from gateway.media.embedded.plane.packet import HEADER_SIZE, RtpError, payload_bounds, timestamp_delta
from gateway.media.embedded.plane.relay import Relay

CONCEALED_MS = 60
"""Longest loss that is filled in; after a longer one the stream simply goes on."""
_FADE = 0.5
"""Each concealed frame has so much of the amplitude of the one before."""


@dataclass(frozen=True, slots=True)
class OpusSettings:
    """How Opus is encoded."""

    complexity: int = 5
    """0 to 10."""
    bit_rate: int = 24_000
    """Bits a second."""


class Transcoder:
    """Payloads in, payloads out, with the outgoing timestamp of each."""

    def __init__(self, source: str, target: str, frame_ms: int = 20, opus: OpusSettings | None = None) -> None:
        """Codec names in lower case; `frame_ms` of audio in each packet that goes out. Raises AudioError."""
        opus = opus or OpusSettings()
        self._decoder = make_decoder(source)
        rate = narrowest_rate(source, target)
        self._encoder = make_encoder(target, rate, frame_ms, complexity=opus.complexity, bit_rate=opus.bit_rate)
        self._resampler = make_resampler(self._decoder.rate, self._encoder.rate)
        self.frame = self._encoder.frame
        """Samples of one outgoing packet."""
        self._clock_out = 48000 if target == "opus" else 8000
        self._rest: Pcm = np.zeros(0, np.int16)
        self._rest_timestamp = 0
        self._last: Pcm = self._rest

    @property
    def empty(self) -> bool:
        """Whether no sample waits for more to fill a packet."""
        return not len(self._rest)

    def decode(self, payload: bytes) -> Pcm:
        """PCM at the encoder's rate; raises AudioError."""
        pcm = self._decoder.decode(payload)
        return self._resampler.process(pcm) if self._resampler is not None else pcm

    def encode(self, pcm: Pcm) -> bytes:
        """One frame."""
        return self._encoder.encode(pcm)

    def ticks(self, samples: int) -> int:
        """Samples as ticks of the outgoing RTP clock."""
        return samples * self._clock_out // self._encoder.rate

    def push(self, pcm: Pcm, timestamp: int) -> list[tuple[int, bytes]]:
        """Add audio that belongs at `timestamp`; what is full goes out as (timestamp, payload).

        A gap is concealed up to `CONCEALED_MS`; after a longer one what waited is filled up with silence.
        """
        out: list[tuple[int, bytes]] = []
        if len(self._rest) or len(self._last):
            expected = self._rest_timestamp + self.ticks(len(self._rest))
            gap = timestamp_delta(timestamp, expected)
            if 0 < gap <= CONCEALED_MS * self._clock_out // 1000:
                missing = gap * self._encoder.rate // self._clock_out
                out += self._cut(self._conceal(missing))
            elif gap and len(self._rest):
                out += self._cut(np.zeros(self.frame - len(self._rest), np.int16))
        if not len(self._rest):
            self._rest_timestamp = timestamp
        self._last = pcm
        return out + self._cut(pcm)

    def reset(self) -> None:
        """Forget what waits: the next audio has nothing to do with it."""
        self._rest = self._last = np.zeros(0, np.int16)

    def _cut(self, pcm: Pcm) -> list[tuple[int, bytes]]:
        line = np.concatenate((self._rest, pcm)) if len(self._rest) else pcm
        out = []
        start = 0
        while len(line) - start >= self.frame:
            out.append((self._rest_timestamp & 0xFFFFFFFF, self._encoder.encode(line[start : start + self.frame])))
            self._rest_timestamp += self.ticks(self.frame)
            start += self.frame
        self._rest = line[start:]
        return out

    def _conceal(self, samples: int) -> Pcm:
        """The last audio again, fading."""
        made = np.zeros(samples, np.int16)
        source = self._last
        gain = _FADE
        for start in range(0, samples, max(1, len(source))):
            part = made[start : start + len(source)]
            part[:] = (source[: len(part)] * gain).astype(np.int16)
            gain *= _FADE
        return made


class TranscodeHandler:
    """Turns the packets of one payload type into another codec; a `relay.Handler`.

    Where a packet in makes a packet out, sequence numbers are mirrored: losses stay losses for
    the listener, whose own concealment knows best, and late packets find their place. Where
    packets are cut to another length, numbers are given out afresh and losses are concealed here.
    """

    __slots__ = ("_generation", "_payload_type", "_transcoder", "frames")

    def __init__(self, transcoder: Transcoder, payload_type: int) -> None:
        self._transcoder = transcoder
        self._payload_type = payload_type
        self._generation = -1
        self.frames = 0
        """Packets made."""

    def handle(
        self, relay: Relay, packet: bytes, marker: int, sequence_number: int, timestamp: int, now: float
    ) -> None:
        """Decode and encode one packet; what cannot be decoded is dropped and counted."""
        if not relay.open:
            relay.skip()
            return
        transcoder = self._transcoder
        try:
            start, end = payload_bounds(packet) if packet[0] != 0x80 else (HEADER_SIZE, len(packet))
            pcm = transcoder.decode(packet[start:end])
            if self._generation != relay.inbound.generation:
                self._generation = relay.inbound.generation
                transcoder.reset()
            if len(pcm) == transcoder.frame and transcoder.empty:
                self.frames += 1
                payload = transcoder.encode(pcm)
                relay.pass_on(self._payload_type | marker, payload, sequence_number, timestamp, now)
            elif len(pcm):
                self._repacketize(relay, pcm, marker, sequence_number, timestamp, now)
            else:
                relay.skip()
        except (AudioError, RtpError):
            relay.inbound.discarded += 1
            relay.skip()

    def _repacketize(
        self, relay: Relay, pcm: Pcm, marker: int, sequence_number: int, timestamp: int, now: float
    ) -> None:
        if sequence_number != relay.inbound.highest:
            relay.inbound.discarded += 1
            return
        for when, payload in self._transcoder.push(pcm, relay.join(sequence_number, timestamp, now)):
            self.frames += 1
            relay.emit(self._payload_type | marker, payload, when, now)
            marker = 0
