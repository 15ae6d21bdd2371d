"""A program as one side of a call: what its caller says as PCM, and what it says to the caller."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from gateway.media.embedded.audio.codecs import CODECS, SPOKEN, make_decoder, make_encoder
from gateway.media.embedded.audio.opus import OpusSettings
from gateway.media.embedded.audio.pcm import AudioError, Pcm
from gateway.media.embedded.audio.playout import Playout
from gateway.media.embedded.audio.resample import Resampler, make_resampler
from gateway.media.embedded.data.program_text import ProgramText
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.pacer import TICK_MS
from gateway.media.embedded.sources.packets import NOTHING, Injected, Packets
from gateway.media.embedded.sources.pictures import Picture
from gateway.media.engine import MediaError
from sdp import Codec, Direction

logger = logging.getLogger("gateway.media.program")

RATE = 16_000
"""Hz of what a program hears and says: wide enough for speech, and each codec's rate a whole factor away."""
RATES = frozenset({8_000, RATE, 32_000, 48_000})
"""What it may ask for."""
FRAME = RATE * TICK_MS // 1000
"""Samples of 20 ms."""
LONGEST_WAITING = 60.0
"""Seconds of speech that may wait to be said."""
COMPLEXITY = 5
"""Of Opus, as programs speak it."""
_IDLE_TICKS = 250
"""Ticks without a packet after which the ear rests until one comes."""


class Outlet(Protocol):
    """The stream toward a party that a conference speaks in."""

    @property
    def hears(self) -> bool:
        """Whether what is said now goes out."""

    def say(self, packet: Injected) -> None:
        """Send one packet."""


class Seated(Protocol):
    """A place in a conference, as the party sees it that has it."""

    number: int
    """Of all places."""

    def take(self, codec: str, packet: MediaPacket, now: float) -> None:
        """One packet of the party, in a codec by its name in lower case."""

    def show(self, picture: Picture | None) -> None:
        """The party's picture is this one, as is agreed now; None: it has none."""

    def speak_to(self, outlet: Outlet | None, codec: Codec | None) -> None:
        """Speak to this one in that codec from now on, to nobody where it is None."""

    def find_tones(self, told: Callable[[str, int], None] | None) -> None:
        """Tell this one the digits, each with its ms, that the party says in tones; None: it says none so."""


@dataclass(frozen=True, slots=True)
class SeatEar:
    """What comes in one payload type for a place in a conference; a `PacketHandler`."""

    seat: Seated
    codec: str

    def handle(self, packet: MediaPacket, now: float) -> Packets:
        """Keep it until the next round."""
        self.seat.take(self.codec, packet, now)
        return NOTHING


class ProgramAudio:
    """`gateway.media.engine.AudioPort`."""

    def __init__(self) -> None:
        self.ear: Ear | None = None
        """What heard something last."""
        self.seat: Seated | None = None
        """Its place in a conference: the caller hears that, and speaks there."""
        self.rearrange: Callable[[], None] = lambda: None
        """Have the caller's packets go where they belong now."""
        self.tap: Callable[[Pcm], None] | None = None
        """Hears what the program says, as it is said."""
        self.text = ProgramText()
        self._heard: dict[int, tuple[Callable[[bytes], None], Resampler | None]] = {}
        self._next_listener = 0
        self._line: deque[tuple[int, Pcm]] = deque()
        """With the number of its piece."""
        self._pieces = 0
        self._waiting = 0
        """Samples in the line."""
        self._said: Callable[[], None] | None = None
        self._resamplers: dict[int, Resampler | None] = {}
        """Of what is said, by its rate: a filter's history goes on from piece to piece."""
        self._rests: dict[int, bytes] = {}
        """What was said at each rate and is no whole sample of `RATE` yet."""

    def holds(self, direction: Direction, has_heard: bool) -> bool:
        """Whether a caller has a conference on hold: it has heard that or others, and as is agreed now does not.

        What it sends then is its own music, for one who waits, and not for a room. Who only ever spoke is heard.
        """
        return self.seat is not None and has_heard and not direction.sends

    @property
    def waiting(self) -> float:
        return self._waiting / RATE

    def listen(self, heard: Callable[[bytes], None], rate: int = RATE) -> Callable[[], None]:
        self._next_listener += 1
        number = self._next_listener
        self._heard[number] = heard, _resampler(RATE, rate)

        def stop() -> None:
            self._heard.pop(number, None)

        return stop

    def on_text(self, heard: Callable[[str], None]) -> Callable[[], None]:
        return self.text.on_text(heard)

    def type(self, text: str) -> None:
        self.text.show(text)

    def on_said(self, said: Callable[[], None]) -> None:
        self._said = said

    def say(self, pcm: bytes, rate: int = RATE) -> int:
        if len(pcm) % 2:
            raise MediaError("PCM of 16 bits has an even number of octets", 400)
        if rate not in self._resamplers:
            self._resamplers[rate] = _resampler(rate, RATE)
        if self.waiting + len(pcm) / 2 / rate > LONGEST_WAITING:
            raise MediaError(f"more than {LONGEST_WAITING:g} s wait to be said", 503)
        resampler = self._resamplers[rate]
        pcm = self._rests.get(rate, b"") + pcm
        end = len(pcm) - len(pcm) % (2 * max(1, rate // RATE))
        self._rests[rate] = pcm[end:]
        samples = np.frombuffer(pcm[:end], np.int16)
        if resampler is not None and len(samples):
            samples = resampler.process(samples)
        self._pieces += 1
        if len(samples):
            self._line.append((self._pieces, samples))
            self._waiting += len(samples)
        return self._pieces

    def clear(self, last: int | None = None) -> None:
        while self._line and (last is None or self._line[0][0] <= last):
            self._waiting -= len(self._line.popleft()[1])
        if not self._line:
            self._rests.clear()

    def take_seat(self, seat: Seated | None) -> None:
        """Have the caller be part of a conference, None: talk with the program alone."""
        self.seat = seat
        self.rearrange()

    @property
    def listens(self) -> bool:
        """Whether anybody wants to hear the caller."""
        return bool(self._heard)

    def hear(self, pcm: Pcm) -> None:
        """Give the program 20 ms of what its caller says."""
        for heard, resampler in tuple(self._heard.values()):
            try:
                heard((pcm if resampler is None else resampler.process(pcm)).tobytes())
            except Exception:
                logger.exception("a program did not take what it heard")

    def next(self) -> Pcm | None:
        """The next 20 ms of what is to be said, filled up with silence at its end; None: nothing is."""
        if not self._waiting:
            return None
        parts, missing = [], FRAME
        while missing and self._line:
            number, part = self._line.popleft()
            if len(part) > missing:
                self._line.appendleft((number, part[missing:]))
                part = part[:missing]
            parts.append(part)
            missing -= len(part)
        self._waiting -= FRAME - missing
        if missing:
            parts.append(np.zeros(missing, np.int16))
        if not self._waiting and self._said is not None:
            self._said()
        pcm = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self.tap is not None:
            self.tap(pcm)
        return pcm


def _resampler(rate_in: int, rate_out: int) -> Resampler | None:
    if not RATES.issuperset((rate_in, rate_out)):
        raise MediaError(f"a program has {', '.join(map(str, sorted(RATES)))} samples a second", 400)
    return make_resampler(rate_in, rate_out)


class Ear:
    """Decodes one payload type for a program behind a playout buffer, in a thread; `deliver` fetches what it has."""

    frames = 0
    """Packets made for another peer: none."""

    def __init__(self, codec: str, audio: ProgramAudio) -> None:
        """`codec`: its name in lower case. Raises AudioError."""
        self._decoder = make_decoder(codec)
        self._resampler = make_resampler(self._decoder.rate, RATE)
        self._audio = audio
        self.playout = Playout(self._decode, RATE)
        self._idle = 0
        self._heard: deque[Pcm] = deque()

    @property
    def resting(self) -> bool:
        """Whether nothing has come for so long that ticks can stop."""
        return self._idle >= _IDLE_TICKS

    def handle(self, packet: MediaPacket, now: float) -> Packets:
        """Keep one packet until its tick; of several ears, one for each codec, the one that hears something counts."""
        self._idle = 0
        self._audio.ear = self
        self.playout.put(packet.sequence_number, packet.generation, packet.payload, now)
        return NOTHING

    def tick(self, now: float) -> Packets:
        """Decode 20 ms more, silence where nothing came."""
        pcm = self.frame(now)
        if self._audio.ear is self:
            self._heard.append(np.zeros(FRAME, np.int16) if pcm is None else pcm)
        return NOTHING

    def frame(self, now: float) -> Pcm | None:
        """The next 20 ms, None while nothing is to be heard."""
        pcm = self.playout.frame(FRAME, now)
        self._idle = self._idle + 1 if pcm is None else 0
        return pcm

    def deliver(self) -> None:
        """Let the program hear what was decoded; in the event loop, when the thread is done."""
        while self._heard:
            self._audio.hear(self._heard.popleft())

    def pause(self) -> None:
        """A program hears whatever its caller's direction is."""

    def _decode(self, payload: bytes) -> Pcm:
        pcm = self._decoder.decode(payload)
        return self._resampler.process(pcm) if self._resampler is not None else pcm


class Ears:
    """All codecs of one party, decoded as its packets come; the one that heard something last counts."""

    def __init__(self) -> None:
        self._audio = ProgramAudio()
        self._ears: dict[str, Ear] = {}

    def take(self, codec: str, packet: MediaPacket, now: float) -> None:
        """One packet, in a codec by its name in lower case; raises AudioError for one that cannot be decoded."""
        ear = self._ears.get(codec)
        if ear is None:
            ear = self._ears[codec] = Ear(codec, self._audio)
        ear.handle(packet, now)

    def frame(self, now: float) -> Pcm | None:
        """The next 20 ms, None while nothing is to be heard."""
        frames = [(ear, ear.frame(now)) for ear in self._ears.values()]
        return next((pcm for ear, pcm in frames if ear is self._audio.ear), None)

    @property
    def made_up(self) -> bool:
        """Whether the last frame stands for what has not come."""
        return self._audio.ear is not None and self._audio.ear.playout.made_up


class Voice:
    """An encoder for what is said at RATE."""

    def __init__(self, codec: str, opus: OpusSettings = SPOKEN) -> None:
        """Raises AudioError for a codec that cannot be made."""
        self._encoder = make_encoder(codec, RATE, TICK_MS, opus)
        self._resampler = make_resampler(RATE, self._encoder.rate)

    def encode(self, pcm: Pcm) -> bytes | None:
        """20 ms; None where they cannot be encoded."""
        if self._resampler is not None:
            pcm = self._resampler.process(pcm)
        try:
            return self._encoder.encode(pcm)
        except AudioError:
            return None


def _spoken_to(codec: Codec) -> OpusSettings:
    """How Opus is made for who has agreed to this codec; a program that has nothing to say sends nothing anyway."""
    opus = replace(SPOKEN, complexity=COMPLEXITY)
    return replace(opus.for_listener(codec.fmtp), discontinuous=False) if codec.key[0] == "opus" else opus


class Mouth:
    """Speaks to one party, a packet a tick: what a program says, or what it is given."""

    def __init__(self, codec: Codec, audio: ProgramAudio, complexity: int = COMPLEXITY) -> None:
        """`complexity` of Opus, 0 to 10. Raises AudioError for a codec that cannot be made."""
        if codec.payload_type is None or codec.key[0] not in CODECS:
            raise AudioError("no codec that can be made")
        self.codec = codec.key[0]
        self.shared = _spoken_to(codec)
        """How Opus is made for this party and all who want it so."""
        self._opus = replace(self.shared, complexity=complexity)
        self._voice: Voice | None = None
        self._payload_type = codec.payload_type
        self._step = codec.clock_rate * TICK_MS // 1000
        self._audio = audio
        self._going = False

    def next(self) -> Injected | None:
        """The packet of this tick; None while the program says nothing."""
        pcm = self._audio.next()
        if pcm is None:
            self._going = False
            return None
        return self.encode(pcm)

    def encode(self, pcm: Pcm) -> Injected | None:
        """The packet of 20 ms; None where it cannot be made."""
        if self._voice is None:
            self._voice = Voice(self.codec, self._opus)
        return self._packet(self._voice.encode(pcm))

    def repeat(self, payload: bytes | None) -> Injected | None:
        """The packet of what was encoded for others as well; what is encoded for this party alone begins anew."""
        self._voice = None
        return self._packet(payload)

    def _packet(self, payload: bytes | None) -> Injected | None:
        if payload is None:
            return None
        first, self._going = not self._going, True
        return Injected(self._payload_type, payload, None if first else self._step, first)

    def pause(self) -> None:
        """Nothing goes out in this tick; the next packet stands where time is then."""
        self._going = False
