"""Files that are played to parties, in whatever codecs these want meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.media.embedded.audio.codecs import CODECS
from gateway.media.embedded.audio.pcm import AudioError
from gateway.media.embedded.sources.music import SAMPLES, encoded, read_music
from gateway.media.embedded.sources.pacer import TICK_MS
from gateway.media.embedded.sources.packets import Injected
from sdp import Codec

logger = logging.getLogger("gateway.media")

Frame = Callable[[str, int], bytes | None]
"""20 ms of a file in a codec by its name, by their number; None: they are being made, empty: none follow."""


class PlayedFile:
    """The sound of a file, and its frames in each codec that somebody who hears it has wanted so far."""

    def __init__(self, path: str) -> None:
        """Read it, as far as it is played. Takes a second; raises AudioError."""
        self._pcm = read_music(path)
        self._made: dict[str, tuple[int, list[bytes]]] = {}
        """The number of the first frame, and what is made of those from there on, by codec."""

    def frame(self, codec: str, number: int) -> bytes | None:
        """`Frame`: what nobody has wanted before is made from there on, in a thread."""
        if codec not in CODECS:
            return b""
        first, made = self._made.get(codec, (number + 1, []))
        if number < first:
            first, made = self._made[codec] = number, []
            asyncio.get_running_loop().run_in_executor(None, self._make, codec, number, made)
        return made[number - first] if number - first < len(made) else None

    def _make(self, codec: str, first: int, made: list[bytes]) -> None:
        try:
            for frame in encoded(codec, self._pcm[first * SAMPLES :]):
                made.append(frame)  # noqa: PERF402  # each is sent before the next is made
        except AudioError as error:
            logger.warning("a file cannot be played in %s: %s", codec, error)
        finally:
            made.append(b"")


class FileSender:
    """A file from its beginning to its end, a packet a tick, or as long as it can be made in the party's codec."""

    __slots__ = ("_codec", "_frame", "_number")

    def __init__(self, frame: Frame) -> None:
        self._frame: Frame | None = frame
        """None: no packet follows."""
        self._number = 0
        self._codec: Codec | None = None
        """That of the packet before."""

    def tick(self, codec: Codec | None) -> tuple[Injected | None, bool]:
        """The next packet, None without a codec or while it is being made, and whether more may follow."""
        if self._frame is None or (codec is not None and codec.payload_type is None):
            return None, False
        frame = self._frame(codec.key[0], self._number) if codec is not None else None
        if codec is None or codec.payload_type is None or frame is None:
            self.interrupt()
            return None, True
        if not frame:
            return None, False
        first, self._codec = codec != self._codec, codec
        self._number += 1
        step = None if first else codec.clock_rate * TICK_MS // 1000
        return Injected(codec.payload_type, frame, step, first), True

    def interrupt(self) -> None:
        """Something else goes out now, or nothing; it goes on thereafter."""
        self._codec = None

    def stop(self) -> None:
        """No packet follows."""
        self._frame = None
