"""What several say at once, as each of them is to hear it: everybody but oneself."""

from __future__ import annotations

import heapq
import math

import numpy as np

from gateway.media.embedded.audio.pcm import Pcm

_SMOOTHING = 0.1
"""Share of the newest frame in a speaker's level: about 200 ms count."""
_QUIETEST = -50.0
"""dB below the loudest sample: who is below does not speak."""
_LOUDER = 3.0
"""dB that somebody must be louder than who speaks now, so that two do not take turns many times a second."""
_FORGOTTEN = 75
"""Frames of 20 ms without speech after which nobody speaks."""
_AHEAD = 10 ** (_LOUDER / 10)
"""How much more power somebody must have to be mixed in the place of another."""

Gains = tuple[float, float]
"""What the first sample of a frame is multiplied by, and the last."""
AS_IT_IS: Gains = (1.0, 1.0)
_FADE_IN: Gains = (0.0, 1.0)
_FADE_OUT: Gains = (1.0, 0.0)


class Mix:
    """One frame of everybody. Who belongs to one group (a room full of people at one phone, two that hear each
    other otherwise) does not hear the others of it."""

    def __init__(self, samples: int) -> None:
        self._total = np.zeros(samples, np.int32)
        self._groups: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int32]]] = {}
        self._made: dict[str, Pcm] = {}

    def add(self, pcm: Pcm, group: str | None = None) -> None:
        """One frame; None: of nobody, all hear it."""
        self._total += pcm
        if group is not None:
            self._groups[group] = self._groups.get(group, 0) + pcm.astype(np.int32)

    def without(self, group: str, own: Pcm | None = None) -> Pcm:
        """What everybody else says, within what 16 bits hold; `own` is added, for this one's ears only."""
        of_group = self._groups.get(group)
        # All who are silent hear the same: it is made once.
        made = self._made.get(group if of_group is not None else "")
        if made is None or own is not None:
            line = self._total if of_group is None else self._total - of_group
            made = np.clip(line if own is None else line + own, -32768, 32767).astype(np.int16)
            if own is None:
                self._made[group if of_group is not None else ""] = made
        return made

    def has(self, group: str) -> bool:
        """Whether anybody of the group says anything."""
        return group in self._groups

    @property
    def all(self) -> Pcm:
        """What everybody says."""
        return self.without("")


def power(pcm: Pcm) -> float:
    """Mean square of the samples."""
    samples = pcm.astype(np.float32)
    return float(samples @ samples) / max(1, len(samples))


class Loudest:
    """Who speaks: the loudest of all, until somebody is clearly louder or it has been silent."""

    def __init__(self) -> None:
        self.speaker: str | None = None
        self._powers: dict[str, float] = {}
        self._silent = 0

    def hear(self, powers: dict[str, float]) -> bool:
        """Take `power` of everybody's frame; whether the speaker is another now."""
        self._powers = {
            name: (1 - _SMOOTHING) * self._powers.get(name, 0.0) + _SMOOTHING * now for name, now in powers.items()
        }
        levels = {name: _decibels(each) for name, each in self._powers.items()}
        loudest = max(levels, key=levels.__getitem__, default=None)
        before, current = self.speaker, levels.get(self.speaker or "", -math.inf)
        if loudest is None or levels[loudest] < _QUIETEST:
            self._silent += 1
            if self._silent >= _FORGOTTEN or self.speaker not in levels:
                self.speaker = None
        else:
            self._silent = 0
            if levels[loudest] > current + _LOUDER or self.speaker not in levels:
                self.speaker = loudest
        return self.speaker != before


class Speakers:
    """Who of those who speak is in the mix: the loudest, at most so many; who is in stays until another is clearly
    louder."""

    def __init__(self, most: int = 0) -> None:
        """0: everybody who speaks."""
        self.most = most
        self._levels: dict[str, float] = {}
        self._chosen: frozenset[str] = frozenset()

    def choose(self, powers: dict[str, float]) -> dict[str, Gains]:
        """Of those who speak, with the `power` of their frames, who is in the mix of these frames, and how loud.

        Who makes room for another, and who comes in within a word, is faded, so that nothing clicks.
        """
        before, spoke = self._chosen, self._levels
        self._levels = levels = {
            name: (1 - _SMOOTHING) * spoke.get(name, 0.0) + _SMOOTHING * now for name, now in powers.items()
        }
        if self.most and len(levels) > self.most:
            weights = {name: level * _AHEAD if name in before else level for name, level in levels.items()}
            self._chosen = frozenset(heapq.nlargest(self.most, weights, key=weights.__getitem__))
        else:
            self._chosen = frozenset(levels)
        gains = {name: AS_IT_IS if name in before or name not in spoke else _FADE_IN for name in self._chosen}
        return gains | dict.fromkeys(before & levels.keys() - self._chosen, _FADE_OUT)


def faded(pcm: Pcm, gains: Gains) -> Pcm:
    """One frame, louder or less from its beginning to its end."""
    return pcm if gains == AS_IT_IS else (pcm * np.linspace(*gains, len(pcm), dtype=np.float32)).astype(np.int16)


def _decibels(mean_square: float) -> float:
    return 10 * math.log10(max(mean_square, 1e-9)) - 20 * math.log10(32768)
