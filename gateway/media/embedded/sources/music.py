"""Music for who is on hold: a file, or a few notes of our own, encoded once for each codec."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import numpy as np

from gateway.media.embedded.audio.codecs import CODECS, make_encoder, read_audio
from gateway.media.embedded.audio.pcm import AudioError, Pcm, to_int16
from gateway.media.embedded.audio.resample import make_resampler
from gateway.media.embedded.sources.pacer import TICK_MS
from sdp import Codec, MediaAgreement

GENERATED = "generated"
LONGEST = 120.0
"""Seconds of a file that are played; then it begins again."""
_RATE = 16_000
SAMPLES = _RATE * TICK_MS // 1000
"""Of a frame, before it is encoded."""
_NOTES = (262, 330, 392, 523, 392, 330, 294, 349, 440, 587, 440, 349)
"""Hz, one after the other."""
_NOTE = 0.5
"""Seconds of each."""
_LEVEL = 0.08

Frames = dict[str, tuple[bytes, ...]]
"""Frames of 20 ms by the name of their codec."""


def prepare_music(source: str) -> Frames:
    """The music of `source`, a file or GENERATED, for every codec. Takes a second; raises AudioError."""
    pcm = _generated() if source == GENERATED else read_music(source)
    return {codec: tuple(encoded(codec, pcm)) for codec in sorted(CODECS)}


def read_music(path: str) -> Pcm:
    """The sound of a file, at most LONGEST of it, for `encoded`; raises AudioError."""
    return read_audio(path, _RATE, LONGEST)


class Music:
    """What who is on hold hears, by who holds it, and callers while somebody rings; each source is encoded once."""

    def __init__(self) -> None:
        self._frames: dict[str, Frames] = {}
        """By their source."""
        self._of: dict[str | None, str] = {}
        self._ringback_of: dict[str, str] = {}
        self.ringbacks: frozenset[str] = frozenset()
        """Names by which a caller hears something."""

    def is_of(self, default: str | None, of: Mapping[str, str], ringback_of: Mapping[str, str]) -> bool:
        """Whether it is of these sources, as `prepare` takes them."""
        return (self._of, self._ringback_of) == (_by_holder(default, of), ringback_of)

    async def prepare(self, default: str | None, of: Mapping[str, str], ringback_of: Mapping[str, str]) -> None:
        """Have music of these sources, `of` by who holds, `default` for all others, None: none. What is prepared stays.
        `ringback_of`: what callers hear, by the names of `Capabilities.ringbacks`.

        Takes a second for each new one, in a thread. Raises AudioError that names whose cannot be had, and has changed
        nothing.
        """
        wanted = _by_holder(default, of)
        named = [("media.hold_music" if whose is None else f"hold_music of {whose}", wanted[whose]) for whose in wanted]
        frames: dict[str, Frames] = {}
        for name, source in (*named, *[(f"ringback {whose}", source) for whose, source in ringback_of.items()]):
            if source not in frames:
                try:
                    known = self._frames.get(source)
                    frames[source] = known if known is not None else await asyncio.to_thread(prepare_music, source)
                except AudioError as error:
                    raise AudioError(f"{name}: {error}") from None
        self._frames, self._of, self._ringback_of = frames, wanted, dict(ringback_of)
        self.ringbacks = frozenset([name for name, source in ringback_of.items() if all(frames[source].values())])

    def of(self, owner: str | None) -> Frames:
        """Of this one who holds somebody; empty: none."""
        source = self._of.get(owner) or self._of.get(None)
        return self._frames.get(source, {}) if source is not None else {}

    def ringback(self, name: str) -> Frames:
        """What a caller hears; empty: nothing."""
        return self._frames.get(self._ringback_of.get(name, ""), {})


def _by_holder(default: str | None, of: Mapping[str, str]) -> dict[str | None, str]:
    """Sources by who holds; the default is nobody's."""
    wanted: dict[str | None, str] = {None: default} if default is not None else {}
    wanted.update(of.items())
    return wanted


def hold_music(
    music: Mapping[str, tuple[bytes, ...]], codec: Codec | None, holder: MediaAgreement | None
) -> tuple[bytes, ...]:
    """What who takes `codec` hears while it is held: frames, none where it is not held, or there are none."""
    holds = holder is not None and not holder.direction.sends
    return music.get(codec.key[0], ()) if codec is not None and holds else ()


def encoded(codec: str, pcm: Pcm) -> Iterator[bytes]:
    """Frames of 20 ms in a codec by its name, each made of SAMPLES; raises AudioError."""
    encoder = make_encoder(codec, _RATE, TICK_MS)
    resampler = make_resampler(_RATE, encoder.rate)
    for start in range(0, len(pcm) - SAMPLES + 1, SAMPLES):
        frame = pcm[start : start + SAMPLES]
        yield encoder.encode(frame if resampler is None else resampler.process(frame))


def _generated() -> Pcm:
    moments = np.arange(int(_RATE * _NOTE)) / _RATE
    shape = np.minimum(1.0, moments / 0.02) * np.exp(-4 * moments)
    notes = [shape * np.sin(2 * np.pi * frequency * moments) for frequency in _NOTES]
    return to_int16((32767 * _LEVEL * np.concatenate(notes)).astype("f4"))
