"""What the engine itself plays to one party on its outgoing stream: digits, a steady tone, silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from gateway.media.embedded.audio.codecs import CODECS, SPOKEN, make_encoder, narrowest_rate
from gateway.media.embedded.audio.pcm import tone
from gateway.media.embedded.audio.tones import COLUMNS, KEYPAD, ROWS
from gateway.media.embedded.plane.packet import RtpError
from gateway.media.embedded.plane.values import Silence
from gateway.media.embedded.sources.digits import LONGEST_MS, SHORTEST_MS, DigitSender
from gateway.media.embedded.sources.files import FileSender, Frame
from gateway.media.embedded.sources.pacer import TICK_MS, Pacer
from gateway.media.embedded.sources.packets import Injected
from gateway.media.embedded.sources.program import Mouth, ProgramAudio, Seated
from gateway.media.engine import MediaError
from sdp import Codec

SERVICES = frozenset({"echo", "tone", "silence"})
PROGRAM = "program"
"""The service of a party that a program speaks for; nobody can dial it by that name."""
_SOON = 0.04
"""Seconds without anything to send before a steady silence."""
LOOP_SECONDS = 1
"""A whole number of Hz has whole periods in it, so its end joins its beginning."""
MAXIMUM_FILES = 8
"""Files that may wait, of two minutes and four megabytes at most."""
MAXIMUM_DIGITS = 64
"""Digits waiting to be sent to one party."""
DIGIT_GAP_TICKS = 4
"""Ticks of 20 ms between two digits (RFC 4733 has no rule; receivers need 40 ms)."""


BEEP, BEEP_LEVEL, BEEP_MS = 1400, -16.0, 400
"""Hz, dBm0 and length of the tone that says that a recording begins."""
TONE_LEVEL = -7.0
"""dBm0 of each of the two tones."""


@lru_cache(maxsize=64)
def loop_frames(codec: str, frequency: int, level_dbm0: float) -> tuple[bytes, ...]:
    """One second of a tone in frames of 20 ms, made to be repeated; frequency 0 is silence.

    The second of two encoded seconds is taken, so that a codec with memory meets its own end again.
    """
    rate = narrowest_rate(codec, codec) if codec != "opus" else 16000
    encoder = make_encoder(codec, rate, TICK_MS, replace(SPOKEN, complexity=10))
    seconds = 2 * LOOP_SECONDS
    if frequency:
        pcm = tone(frequency, level_dbm0, encoder.rate, seconds)
    else:
        pcm = np.zeros(encoder.rate * seconds, np.int16)
    frames = [encoder.encode(pcm[start : start + encoder.frame]) for start in range(0, len(pcm), encoder.frame)]
    return tuple(frames[len(frames) // 2 :])


@lru_cache(maxsize=64)
def digit_frames(codec: str, digit: str) -> tuple[bytes, ...]:
    """One second of the two tones of a digit in frames of 20 ms; raises RtpError for what is no digit."""
    place = KEYPAD.find(digit.upper()) if len(digit) == 1 else -1
    if place < 0:
        raise RtpError("not a DTMF digit")
    encoder = make_encoder(codec, 8000 if codec != "g722" else 16000, TICK_MS)
    low, high = (
        tone(frequency, TONE_LEVEL, encoder.rate, LOOP_SECONDS) for frequency in (ROWS[place // 4], COLUMNS[place % 4])
    )
    pcm = low + high
    return tuple(encoder.encode(pcm[start : start + encoder.frame]) for start in range(0, len(pcm), encoder.frame))


def prepare_loops(frequency: int, level_dbm0: float) -> None:
    """Encode the tone and the silence of every codec; takes some tens of ms once a process."""
    for codec in sorted(CODECS):
        loop_frames(codec, frequency, level_dbm0)
        loop_frames(codec, 0, 0.0)


def silence_in(codec: Codec | None, after: float, interval: float, *, steady: bool = False) -> Silence | None:
    """What the plane sends where nothing else goes out; None for a codec that is only forwarded.

    `steady`: without a gap, in place of `after` and `interval` (s). A phone whose media has moved here takes who sends
    it more packets for its peer, and another plane may be doing so still.
    """
    if codec is None or codec.payload_type is None or codec.key[0] not in CODECS or not after:
        return None
    payload = loop_frames(codec.key[0], 0, 0.0)[0]
    return Silence(
        payload_type=codec.payload_type,
        payload=payload,
        ticks=codec.clock_rate * TICK_MS // 1000,
        after=_SOON if steady else after,
        interval=TICK_MS / 1000 if steady else max(interval, TICK_MS / 1000),
    )


class Outlet(Protocol):
    """The outgoing stream of a party, as its players see it."""

    @property
    def hears(self) -> bool:
        """Whether the party wants audio and can be reached."""

    @property
    def rate_out(self) -> int:
        """RTP clock of what is sent, Hz."""

    def send_codec(self) -> Codec | None:
        """What the party wants best; None: nothing is agreed."""

    def inject(self, packet: Injected) -> None: ...

    def mute(self, value: bool) -> None:
        """Whether the packets of the players have the stream to themselves."""


class LoopPlayer:
    """A loop, packet by packet."""

    __slots__ = ("_first", "_frames", "_index", "_payload_type", "_step")

    def __init__(self, payload_type: int, clock_rate: int, frames: tuple[bytes, ...]) -> None:
        self._payload_type = payload_type
        self._step = clock_rate * TICK_MS // 1000
        self._frames = frames
        self._index = 0
        self._first = True

    def next(self) -> Injected:
        """The packet of this tick."""
        first, self._first = self._first, False
        frame = self._frames[self._index % len(self._frames)]
        self._index += 1
        return Injected(self._payload_type, frame, None if first else self._step, first)

    def pause(self) -> None:
        """Nothing goes out in this tick; the next packet is the loop's first, and stands where time is then."""
        self._index = 0
        self.interrupt()

    def interrupt(self) -> None:
        """Something else goes out meanwhile; the next packet is the one that follows, and stands where time is then."""
        self._first = True


class ToneSender:
    """One digit as tones, or a beep, a packet a tick, in the party's own codec."""

    __slots__ = ("_frames", "_player")

    def __init__(self, codec: Codec, frames: tuple[bytes, ...], duration_ms: int) -> None:
        """`frames` of 20 ms in that codec; the duration is kept within 40 ms and 5 s."""
        assert codec.payload_type is not None
        self._player = LoopPlayer(codec.payload_type, codec.clock_rate, frames)
        self._frames = max(1, min(max(duration_ms, SHORTEST_MS), LONGEST_MS) // TICK_MS)

    def tick(self) -> tuple[Injected, bool]:
        """The next packet, and whether more follow."""
        self._frames -= 1
        return self._player.next(), self._frames > 0


class Playing:
    """The players of one party. Digits silence all else while they last, files all but digits."""

    def __init__(self, pacer: Pacer, outlet: Outlet) -> None:
        self.digits_going = False
        """Whether digits, or a file, have the stream to themselves."""
        self._pacer = pacer
        self._outlet = outlet
        self._steady: int | None = None
        """The tone, or the program."""
        self._speaker: Seated | None = None
        self._ticking: int | None = None
        self._digits: list[Callable[[], DigitSender | ToneSender]] = []
        self._beep: Callable[[], ToneSender] | None = None
        """One that is to be played."""
        self._files: list[FileSender] = []
        self._digit: DigitSender | ToneSender | None = None
        self._file: FileSender | None = None
        """The file that is played, and that a digit interrupts."""
        self._gap = 0
        self._closed = False

    def close(self) -> None:
        """Play no more; a successor may go on with the files."""
        self._closed = True
        self.part()
        self._pacer.remove(self._ticking)
        self._ticking = None
        self._have_stream(False)

    def part(self) -> None:
        """Play no more of what was for whoever the party talked with, nor digits; files go on."""
        self.stop()
        self._digits.clear()
        self._beep, self._digit, self._gap = None, None, 0
        # Whoever is heard next is not to be silenced by a digit that was cut off.
        self._have_stream(self._file is not None)

    def succeed(self, other: Playing) -> None:
        """Go on with the files of the same party over a transport that is gone."""
        self._files, self._file = other._files, other._file
        other._files, other._file = [], None
        if self._file is not None:
            self._file.interrupt()
        if self._file is not None or self._files:
            self._begin()

    def digit(self, digit: str, duration_ms: int, events: dict[int, int]) -> None:
        """Queue one digit; `events`: telephone-event payload types by clock rate in Hz.

        Raises MediaError: 400 for what is no digit, 488 without events, 503 when too many wait.
        """
        if not events:
            raise MediaError("this party takes no telephone-events", 488)

        def sender() -> DigitSender:
            rate_out = self._outlet.rate_out
            rate = rate_out if rate_out in events else next(iter(events))
            return DigitSender(events[rate], rate, rate_out, digit, duration_ms)

        self._queue(sender)

    def tones(self, digit: str, duration_ms: int, codec: Codec | None) -> None:
        """Queue one digit as the two tones it stands for (ITU-T Q.23).

        Raises MediaError: 400 for what is no digit, 488 for a codec that cannot be made, 503 when too many wait.
        """
        if codec is None or codec.payload_type is None or codec.key[0] not in CODECS:
            raise MediaError("no tones can be made in the codec of this party", 488)
        self._queue(lambda: ToneSender(codec, digit_frames(codec.key[0], digit), duration_ms))

    def beep(self, codec: Codec | None) -> None:
        """Play a beep before all that waits, where one can be made in that codec; it takes no digit's place."""
        if codec is not None and codec.payload_type is not None and codec.key[0] in CODECS:
            self._beep = lambda: ToneSender(codec, loop_frames(codec.key[0], BEEP, BEEP_LEVEL), BEEP_MS)
            self._begin()

    def file(self, frame: Frame) -> None:
        """Queue a file, in the place of all that the party hears else; raises MediaError 503 where too much waits.

        Once this is closed it waits for a successor.
        """
        if len(self._files) >= MAXIMUM_FILES:
            raise MediaError("too many files are waiting", 503)
        self._files.append(FileSender(frame))
        self._begin()

    def stop_files(self) -> None:
        """Play no file that was queued, nor the rest of the one that is played."""
        self._files.clear()
        if self._file is not None:
            self._file.stop()

    def _queue(self, sender: Callable[[], DigitSender | ToneSender]) -> None:
        if len(self._digits) >= MAXIMUM_DIGITS:
            raise MediaError("too many digits are waiting", 503)
        try:
            sender()
        except RtpError as error:
            raise MediaError(str(error), 400) from None
        self._digits.append(sender)
        self._begin()

    def _begin(self) -> None:
        if self._ticking is None and not self._closed:
            self._ticking = self._pacer.add(self._queue_tick)

    def _queue_tick(self, now: float) -> bool:
        """What waits: a beep or a digit first, then a file, which they interrupt."""
        if self._gap:
            self._gap -= 1
            return True
        if self._digit is None and (self._beep is not None or self._digits):
            if self._file is not None:
                self._file.interrupt()
            first, self._beep = self._beep, None
            self._digit = first() if first is not None else self._digits.pop(0)()
        elif self._digit is None and self._file is None:
            if not self._files:
                self._ticking = None
                return False
            self._file = self._files.pop(0)
        self._have_stream(True)
        packet, going = self._tick()
        if packet is not None:
            self._outlet.inject(packet)
        if not going:
            if self._digit is None:
                self._file = None
            self._digit, self._gap = None, DIGIT_GAP_TICKS
            self._have_stream(self._file is not None)
        return True

    def _tick(self) -> tuple[Injected | None, bool]:
        """The packet of this tick, and whether more of the same follow."""
        if self._digit is not None:
            return self._digit.tick()
        assert self._file is not None
        return self._file.tick(self._outlet.send_codec())

    def _have_stream(self, value: bool) -> None:
        if self.digits_going is not value:
            self.digits_going = value
            self._outlet.mute(value)

    def tone(self, codec: Codec, frequency: int, level_dbm0: float) -> None:
        """Play a steady tone from now on, in place of an earlier one."""
        if codec.payload_type is None or codec.key[0] not in CODECS:
            self.stop()
            return
        frames = loop_frames(codec.key[0], frequency, level_dbm0)
        self._play(LoopPlayer(codec.payload_type, codec.clock_rate, frames))

    def music(self, codec: Codec, frames: tuple[bytes, ...]) -> None:
        """Play frames of 20 ms in that codec again and again from now on, in place of whatever was played."""
        self.stop()
        if codec.payload_type is not None and frames:
            self._play(LoopPlayer(codec.payload_type, codec.clock_rate, frames))

    def program(self, codec: Codec, audio: ProgramAudio) -> None:
        """Say what a program says from now on, in place of whatever was played."""
        if codec.payload_type is None or codec.key[0] not in CODECS:
            self.stop()
            return
        self._play(Mouth(codec, audio))

    def speaker(self, codec: Codec, speaker: Seated) -> None:
        """Have another one speak by `say` from now on, in place of whatever was played."""
        self.stop()
        if codec.payload_type is not None and codec.key[0] in CODECS:
            self._speaker = speaker
            speaker.speak_to(self, codec)

    @property
    def hears(self) -> bool:
        """Whether what is said now goes out."""
        return self._outlet.hears and not self.digits_going

    def say(self, packet: Injected) -> None:
        """A packet of the speaker."""
        if self.hears:
            self._outlet.inject(packet)

    def _play(self, player: LoopPlayer | Mouth) -> None:
        self.stop()

        def tick(now: float) -> bool:
            packet = player.next() if self.hears else None
            if packet is None:
                player.pause()
            else:
                self._outlet.inject(packet)
            return True

        self._steady = self._pacer.add(tick)

    def stop(self) -> None:
        """Play the tone, or what the program or a speaker says, no more."""
        self._pacer.remove(self._steady)
        self._steady = None
        speaker, self._speaker = self._speaker, None
        if speaker is not None:
            speaker.speak_to(None, None)
