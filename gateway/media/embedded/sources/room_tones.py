"""The digits that a member of a conference says in tones: told as digits, and not heard by the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from gateway.media.embedded.audio.pcm import Pcm
from gateway.media.embedded.audio.resample import make_resampler
from gateway.media.embedded.audio.tones import RATE, ToneDetector
from gateway.media.embedded.sources.program import RATE as SPOKEN

_HELD = 3
"""Frames of 20 ms that wait: a tone is suspected before more of it has come than whoever listens takes for one."""
_PAUSE = 5
"""Frames without a sound after which a digit has ended."""


class RoomTones:
    """One member's way into the mix, 60 ms later; frame by frame in a thread, `tell` in the event loop."""

    def __init__(self, on_tone: Callable[[str, int], None]) -> None:
        """`on_tone` gets each digit with its ms."""
        self.on_tone = on_tone
        self._detector = ToneDetector()
        self._resampler = make_resampler(SPOKEN, RATE)
        self._line: deque[Pcm] = deque()
        self._without = 0
        self._digits: deque[tuple[str, int]] = deque()

    def take(self, pcm: Pcm | None, *, made_up: bool = False) -> Pcm | None:
        """The next 20 ms of what the member says in, None: nothing; what the others hear of it out.

        What is made up for packets that have not come is no part of a digit, nor its end: else it were said twice.
        """
        if pcm is None:
            self._without += 1
            if self._without == _PAUSE and (ended := self._detector.finish()) is not None:
                self._digits.append(ended)
            return self._line.popleft() if self._line else None
        self._without = 0
        if not made_up:
            self._digits += self._detector.process(pcm if self._resampler is None else self._resampler.process(pcm))
        self._line.append(pcm)
        if self._detector.suspects:
            self._line = deque([np.zeros_like(each) for each in self._line])
        return self._line.popleft() if len(self._line) > _HELD else None

    def tell(self) -> None:
        """The digits that have ended since."""
        while self._digits:
            self.on_tone(*self._digits.popleft())
