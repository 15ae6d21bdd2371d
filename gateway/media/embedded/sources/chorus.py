"""What all who are silent in a conference hear: the same for each, so it is encoded once for each codec, of Opus for
each way in which listeners want it."""

from __future__ import annotations

from gateway.media.embedded.audio.opus import OpusSettings
from gateway.media.embedded.audio.pcm import Pcm
from gateway.media.embedded.sources.program import Voice

SILENT_TICKS = 50
"""Ticks of 20 ms without a word of it in the mix after which a member hears what all such do: it comes by another
encoder, and a decoder that changes between two needs some frames to follow, which must not be between two words."""
SHARED = frozenset({"opus", "pcmu", "pcma"})
"""Codecs whose decoders follow another encoder within a frame. One of G.722, which adapts from sample to sample, does
not, and what one encoder of it costs is little."""
QUIET = 32768.0**2 * 1e-6
"""Mean square, 60 dB below the loudest, below which a frame is the noise of a room where nobody speaks."""
_Way = tuple[str, OpusSettings]
_TAIL = 10
"""Quiet frames that still belong to what was said before."""


class Speech:
    """Whether one member says anything, and the others hear it, frame by frame of 20 ms."""

    def __init__(self) -> None:
        self._quiet = _TAIL
        self._without = SILENT_TICKS

    def says(self, power: float | None) -> bool:
        """Whether the frame is more than noise; `power` is its mean square, None: there is none."""
        self._quiet = 0 if power is not None and power >= QUIET else self._quiet + 1
        return power is not None and self._quiet <= _TAIL

    def mixed(self, is_heard: bool) -> None:
        """Whether the others hear the frame."""
        self._without = 0 if is_heard else self._without + 1

    def spoken_to(self) -> None:
        """The member hears something of its own in this tick."""
        self._without = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing of it was heard for `SILENT_TICKS`."""
        return self._without >= SILENT_TICKS


class Chorus:
    """The encoders, one for each codec that one of the silent has; in a thread."""

    def __init__(self) -> None:
        self._voices: dict[_Way, Voice] = {}
        self._made: dict[_Way, bytes | None] = {}
        """Of this tick."""

    def __len__(self) -> int:
        return len(self._voices)

    def begin(self) -> None:
        """Another tick; a codec that nobody had in the last one begins anew when somebody has it again."""
        self._voices = {way: voice for way, voice in self._voices.items() if way in self._made}
        self._made = {}

    def say(self, codec: str, opus: OpusSettings, pcm: Pcm) -> bytes | None:
        """The 20 ms of this tick in that codec; None where they cannot be made."""
        way = codec, opus
        if way not in self._made:
            voice = self._voices.get(way)
            if voice is None:
                voice = self._voices[way] = Voice(codec, opus)
            self._made[way] = voice.encode(pcm)
        return self._made[way]
