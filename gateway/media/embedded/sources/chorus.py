"""What all who are silent in a conference hear: the same for each, so it is encoded once for each codec."""

from __future__ import annotations

from gateway.media.embedded.audio.pcm import Pcm
from gateway.media.embedded.sources.program import Voice

SILENT_TICKS = 50
"""Ticks of 20 ms without a word after which a member hears what all who are silent do: it comes by another encoder,
and a decoder that changes between two needs some frames to follow, which must not be between two words of it."""
SHARED = frozenset({"opus", "pcmu", "pcma"})
"""Codecs whose decoders follow another encoder within a frame. One of G.722, which adapts from sample to sample, does
not, and what one encoder of it costs is little."""
QUIET = 32768.0**2 * 1e-6
"""Mean square, 60 dB below the loudest, below which a frame is the noise of a room where nobody speaks."""
_TAIL = 10
"""Quiet frames that still belong to what was said before."""


class Speech:
    """Whether one member says anything, frame by frame of 20 ms."""

    def __init__(self) -> None:
        self._quiet = _TAIL
        self._without = SILENT_TICKS

    def heard(self, power: float | None) -> bool:
        """Whether the frame is one that others are to hear; `power` is its mean square, None: there is none."""
        self._quiet = 0 if power is not None and power >= QUIET else self._quiet + 1
        speaks = power is not None and self._quiet <= _TAIL
        self._without = 0 if speaks else self._without + 1
        return speaks

    def spoken_to(self) -> None:
        """The member hears something of its own in this tick."""
        self._without = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing has been said for `SILENT_TICKS`."""
        return self._without >= SILENT_TICKS


class Chorus:
    """The encoders, one for each codec that one of the silent has; in a thread."""

    def __init__(self, complexity: int) -> None:
        """`complexity` of Opus, 0 to 10."""
        self._complexity = complexity
        self._voices: dict[str, Voice] = {}
        self._made: dict[str, bytes | None] = {}
        """Of this tick, by the name of the codec."""

    def __len__(self) -> int:
        return len(self._voices)

    def begin(self) -> None:
        """Another tick; a codec that nobody had in the last one begins anew when somebody has it again."""
        self._voices = {codec: voice for codec, voice in self._voices.items() if codec in self._made}
        self._made = {}

    def say(self, codec: str, pcm: Pcm) -> bytes | None:
        """The 20 ms of this tick in that codec; None where they cannot be made."""
        if codec not in self._made:
            voice = self._voices.get(codec)
            if voice is None:
                voice = self._voices[codec] = Voice(codec, self._complexity)
            self._made[codec] = voice.encode(pcm)
        return self._made[codec]
