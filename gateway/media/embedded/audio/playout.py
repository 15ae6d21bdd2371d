"""A playout buffer: packets as they come in, one frame of audio out at every tick, loss concealed, delay adapted.

Sans-IO: time comes in as an argument. The delay grows at once when packets come too late, and shrinks slowly
while there is always more waiting than is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gateway.media.embedded.audio.pcm import AudioError, Pcm
from gateway.media.embedded.plane.packet import sequence_delta
from gateway.media.embedded.plane.values import PlayoutFigures

SHORTEST_DELAY, LONGEST_DELAY = 0.02, 0.2
"""Seconds of audio that wait, at least and at most."""
CONCEALED = 0.06
"""Seconds of loss that are filled in; after a longer one there is silence."""
LONGEST_QUEUE = 64
"""Packets that wait at most."""
SETTLING = 2.0
"""Seconds over which more than enough must have waited before the delay shrinks."""
_FADE = 0.5
"""Each concealed packet has so much of the amplitude of the one before."""
_JITTERS = 3.0
"""Mean deviations that the delay covers."""


class Playout:
    """One stream's buffer; `decode` turns a payload into PCM at `rate`."""

    def __init__(self, decode: Callable[[bytes], Pcm], rate: int) -> None:
        """`rate` in Hz. `decode` raises AudioError."""
        self.delay = SHORTEST_DELAY
        """Seconds of audio that is to wait."""
        self.concealed = self.late = self.lost = self.undecodable = 0
        """Packets made up, too late to be played, missing when their turn was over, refused by the codec."""
        self.made_up = False
        """Whether the last frame stands, in part, for what has not come."""
        self._decode = decode
        self._rate = rate
        self._waiting: dict[int, tuple[bytes, float]] = {}
        """Payloads, and when they came."""
        self._next: int | None = None
        self._generation = -1
        self._playing = False
        self._line: Pcm = np.zeros(0, np.int16)
        self._last: Pcm = self._line
        self._filled = 0.0
        self._ahead = 0
        """Packets made up before anything later showed that they were lost."""
        self._packet = 0.02
        """Seconds of audio in a packet."""
        self._arrived: float | None = None
        self._deviation = 0.0
        self._spare = LONGEST_DELAY
        self._settled_at = 0.0
        self._began = self._now = 0.0
        self._made = self._cut = 0
        """Samples made up, and left out."""
        self._waited: float | None = None

    @property
    def figures(self) -> PlayoutFigures:
        """What was done so far."""
        return PlayoutFigures(
            late=self.late,
            lost=self.lost,
            recovered=0,
            concealed=self._made / self._rate,
            shortened=self._cut / self._rate,
            lengthened=0.0,
            wanted=self.delay,
            waited=self._waited,
        )

    @property
    def waiting(self) -> float:
        """Seconds of audio that wait."""
        return len(self._waiting) * self._packet + len(self._line) / self._rate

    def put(self, sequence_number: int, generation: int, payload: bytes, now: float) -> None:
        """Take one packet; too late a one raises the delay."""
        self._now = now
        if generation != self._generation:
            self._restart(generation)
        self._measure(now)
        if self._next is not None and sequence_delta(sequence_number, self._next) < 0:
            self.late += 1
            self.delay = min(LONGEST_DELAY, self.delay + self._packet)
            return
        if not self._waiting and not self._playing:
            self._began = now
        if len(self._waiting) < LONGEST_QUEUE:
            self._waiting[sequence_number] = payload, now
        if self._next is None:
            self._next = sequence_number

    def frame(self, samples: int, now: float) -> Pcm | None:
        """The audio of one tick; None while nothing is to be heard. `made_up` says of what."""
        concealed, self._now = self.concealed, now
        pcm = self._frame(samples, now)
        self.made_up = self.concealed != concealed or not self._playing
        return pcm

    def _frame(self, samples: int, now: float) -> Pcm | None:
        if not self._playing:
            enough = self.waiting >= self.delay or (self._waiting and now - self._began >= self.delay)
            if not enough:
                return None
            self._playing, self._filled, self._settled_at = True, 0.0, now
            self._skip_to_first()
        self._shrink(samples, now)
        while len(self._line) < samples:
            if not self._advance():
                self._playing = False
                rest, self._line = self._line, self._line[:0]
                return np.concatenate((rest, np.zeros(samples - len(rest), np.int16))) if len(rest) else None
        out, self._line = self._line[:samples], self._line[samples:]
        return out

    def _advance(self) -> bool:
        """Put one packet's audio, or what stands for it, in the line; False where there is none."""
        number = self._next
        if number is None:
            return False
        found = self._waiting.pop(number, None)
        if found is None:
            return self._conceal(number)
        payload, came = found
        self._waited = self._now - came
        self._next, self._ahead = (number + 1) & 0xFFFF, 0
        try:
            pcm = self._decode(payload)
        except AudioError:
            self.undecodable += 1
            return self._fill()
        if len(pcm):
            self._last, self._filled = pcm, 0.0
            self._packet = len(pcm) / self._rate
            self._append(pcm)
        return True

    def _conceal(self, number: int) -> bool:
        """The packet is not there: lost where later ones are, else perhaps only late."""
        if not self._waiting:
            # What is made up now stands for it if it turns out to be lost.
            self._ahead += 1
            return self._filled < CONCEALED and self._fill()
        if self._filled >= CONCEALED:
            self._skip_to_first()
            return True
        self._next = (number + 1) & 0xFFFF
        self.lost += 1
        if self._ahead:
            self._ahead -= 1
            return True
        return self._fill()

    def _fill(self) -> bool:
        if not len(self._last):
            return False
        self.concealed += 1
        self._made += len(self._last)
        self._last = (self._last * _FADE).astype(np.int16)
        self._filled += len(self._last) / self._rate
        self._append(self._last)
        return True

    def _skip_to_first(self) -> None:
        if self._waiting and self._next is not None:
            base = self._next
            self._next = min(self._waiting, key=lambda number: sequence_delta(number, base))
            self.lost += sequence_delta(self._next, base)

    def _append(self, pcm: Pcm) -> None:
        self._line = np.concatenate((self._line, pcm)) if len(self._line) else pcm

    def _measure(self, now: float) -> None:
        """Follow how unevenly packets come (a mean deviation of their distances)."""
        if self._arrived is not None and now - self._arrived < 1.0:
            off = abs(now - self._arrived - self._packet)
            self._deviation += (off - self._deviation) / 16
            self.delay = min(LONGEST_DELAY, max(self.delay, _JITTERS * self._deviation))
        self._arrived = now

    def _shrink(self, samples: int, now: float) -> None:
        """Leave one frame out once a frame more than the delay has waited all the time."""
        self._spare = min(self._spare, self.waiting - self.delay)
        if now - self._settled_at < SETTLING:
            return
        frame = samples / self._rate
        self.delay = max(SHORTEST_DELAY, min(self.delay, max(_JITTERS * self._deviation, self.delay - frame / 2)))
        if self._spare > 2 * frame and len(self._line) < samples and self._advance():
            before, self._line = len(self._line), _joined(self._line, samples)
            self._cut += before - len(self._line)
        self._spare, self._settled_at = LONGEST_DELAY, now

    def _restart(self, generation: int) -> None:
        """Another run of packets: numbers begin afresh, what waited is still heard."""
        self._generation = generation
        while self._waiting and len(self._line) < self._rate * LONGEST_DELAY:
            self._skip_to_first()
            if not self._advance():
                break
        self._waiting.clear()
        self._next = None
        self._arrived = None


def _joined(line: Pcm, samples: int) -> Pcm:
    """The line with a frame less: its beginning faded into what follows a frame later, so that nothing clicks."""
    if len(line) < 2 * samples:
        return line
    ramp = np.linspace(1.0, 0.0, samples, dtype=np.float32)
    blended = line[:samples] * ramp + line[samples : 2 * samples] * (1 - ramp)
    return np.concatenate((blended.astype(np.int16), line[2 * samples :]))
