"""The audio of a party that says its digits in tones: let on without them, while they are told as digits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from gateway.media.embedded.audio.codecs import make_decoder
from gateway.media.embedded.audio.pcm import AudioError, Pcm
from gateway.media.embedded.audio.playout import Playout
from gateway.media.embedded.audio.resample import make_resampler
from gateway.media.embedded.audio.tones import RATE, ToneDetector
from gateway.media.embedded.audio.transcode import Transcoder
from gateway.media.embedded.plane.packet import timestamp_delta
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.packets import NOTHING, Injected, Packets
from gateway.media.embedded.sources.players import loop_frames
from gateway.media.embedded.sources.program import Ear

SILENCE = {"pcmu": b"\xff", "pcma": b"\xd5"}
"""One sample of silence in G.711."""
_HELD, _HELD_LONGER = RATE * 40 // 1000, RATE * 60 // 1000
"""Samples that wait: a tone is suspected before more of it has come than whoever listens for tones takes for one. It
comes later out of a codec that looks ahead."""
MOST_WAITING = 64
"""Packets that wait for their tick; what is more is left out."""
_PAUSE = 0.1
"""Seconds without a packet after which nothing is waited for."""
_IDLE_TICKS = 250


class ToneGate:
    """Takes the packets of one payload type in a thread, and lets them on 40 ms later; `deliver` tells the digits."""

    def __init__(
        self,
        codec: str,
        on_digit: Callable[[str, int], None],
        payload_type: int | None = None,
        to: Transcoder | Ear | None = None,
    ) -> None:
        """`on_digit` gets each digit with its ms. The rest goes out under `payload_type`, or `to` whoever decodes it.

        Raises AudioError for a codec that cannot be decoded.
        """
        self._codec = codec
        self._decoder = make_decoder(codec)
        self._resampler = make_resampler(self._decoder.rate, RATE)
        self._longest_held = _HELD if codec in SILENCE else _HELD_LONGER
        self._on_digit = on_digit
        self._payload_type = payload_type
        self._to = to
        self._detector = ToneDetector()
        self._waiting: deque[tuple[MediaPacket, float, int]] = deque()
        """Packets, when they came, and their samples."""
        self._held = 0
        """Samples in the line."""
        self._heard = 0.0
        self._last: MediaPacket | None = None
        """The packet that was let on last, while the stream goes on."""
        self._idle = 0
        self._digits: deque[tuple[str, int]] = deque()

    @property
    def resting(self) -> bool:
        """Whether nothing has come for so long that ticks can stop."""
        return self._idle >= _IDLE_TICKS and (self._to is None or self._to.resting)

    @property
    def playout(self) -> Playout | None:
        """Of whoever decodes it."""
        return self._to.playout if self._to is not None else None

    @property
    def frames(self) -> int:
        """Packets that were turned into another codec."""
        return self._to.frames if self._to is not None else 0

    def handle(self, packet: MediaPacket, now: float) -> Packets:
        """Look for a tone in one packet, and keep it until its tick; one that is late is left out."""
        try:
            pcm = self._decode(packet.payload) if packet.in_order else None
        except AudioError:
            pcm = None
        if pcm is None or len(self._waiting) >= MOST_WAITING:
            return NOTHING
        self._idle, self._heard = 0, now
        self._digits += self._detector.process(pcm)
        self._waiting.append((packet, now, len(pcm)))
        self._held += len(pcm)
        if self._detector.suspects:
            self._waiting = deque([(self._silent(one), came, samples) for one, came, samples in self._waiting])
        return NOTHING

    def _decode(self, payload: bytes) -> Pcm:
        pcm = self._decoder.decode(payload)
        return self._resampler.process(pcm) if self._resampler is not None else pcm

    def _silent(self, packet: MediaPacket) -> MediaPacket:
        """The same packet without a sound, as long as it is; of Opus 20 ms."""
        sample = SILENCE.get(self._codec)
        if sample is not None:
            return replace(packet, payload=sample * len(packet.payload))
        frame, size = loop_frames(self._codec, 0, 0.0)[0], len(packet.payload)
        return replace(packet, payload=frame if self._codec == "opus" else (frame * (size // len(frame) + 1))[:size])

    def tick(self, now: float) -> Packets:
        """What has waited long enough."""
        self._idle += 1
        pause = now - self._heard >= _PAUSE
        if pause and (ended := self._detector.finish()) is not None:
            self._digits.append(ended)
        out: list[Injected] = []
        while self._waiting and (pause or self._held > self._longest_held or len(self._waiting) >= MOST_WAITING):
            packet, came, samples = self._waiting.popleft()
            self._held -= samples
            if self._to is not None:
                self._to.handle(packet, came)
            elif self._payload_type is not None:
                out.append(self._let_on(packet, self._payload_type))
        if pause:
            self._last = None
        return (*out, *(self._to.tick(now) if self._to is not None else ()))

    def _let_on(self, packet: MediaPacket, payload_type: int) -> Injected:
        last, self._last = self._last, packet
        if last is None or last.generation != packet.generation:
            return Injected(payload_type, packet.payload, None, True)
        advance = timestamp_delta(packet.timestamp, last.timestamp)
        if not 0 < advance < RATE:
            return Injected(payload_type, packet.payload, None, True)
        return Injected(payload_type, packet.payload, advance, packet.marker)

    def pause(self) -> None:
        """The packets of this tick went nowhere: the next stands where time is then."""
        self._last = None
        if self._to is not None and not isinstance(self._to, Ear):
            self._to.pause()

    def deliver(self) -> None:
        """Tell what was found, in the event loop."""
        while self._digits:
            self._on_digit(*self._digits.popleft())
        if isinstance(self._to, Ear):
            self._to.deliver()
