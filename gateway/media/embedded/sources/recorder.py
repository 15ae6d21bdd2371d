"""A recording: what is said, decoded and written in a thread of its own: neither disk nor codec delays a call."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec

import numpy as np

from gateway.media.embedded.audio.files import FORMATS, AudioFile
from gateway.media.embedded.audio.pcm import Pcm
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.pacer import TICK_MS, Pacer
from gateway.media.embedded.sources.program import FRAME, RATE, Ears
from gateway.media.embedded.workers import Workers
from gateway.media.engine import MediaError, RecordingFile

logger = logging.getLogger("gateway.media.recorder")

BATCH = 10
"""Ticks of 20 ms that are written at once."""
MOST_DUE = 500
"""Ticks that may wait for the disk."""
MOST_CAME = 1000
"""Packets of one side that may wait for it."""
MOST_SAID = 100
"""Frames of one side that may wait for their tick."""
MOST_AT_ONCE = 2
"""Recordings of one call."""
_SILENCE: Pcm = np.zeros(FRAME, np.int16)


class Track:
    """One side of what is recorded: packets or frames as they come, a frame at each tick."""

    def __init__(self) -> None:
        self._ears = Ears()
        self._came: list[tuple[str, MediaPacket, float]] = []
        self._said: deque[Pcm] = deque(maxlen=MOST_SAID)
        self._handed: deque[tuple[str, MediaPacket, float]] = deque()
        """What the thread has of them."""
        self._failed = False
        """Whether it has been logged that it could not be heard."""

    def take(self, codec: str, packet: MediaPacket, now: float) -> None:
        """One packet, in a codec by its name in lower case."""
        if len(self._came) < MOST_CAME:
            self._came.append((codec, packet, now))

    def tap(self, names: Mapping[int, str]) -> Callable[[MediaPacket, float], None]:
        """What takes the packets of a party: those whose payload type has a codec's name here."""

        def take(packet: MediaPacket, now: float) -> None:
            name = names.get(packet.payload_type)
            if name is not None:
                self.take(name, packet, now)

        return take

    def say(self, pcm: Pcm) -> None:
        """20 ms that are at hand as they are."""
        self._said.append(pcm)

    def hand_over(self) -> None:
        """Give what came to the next `frames`; in the event loop, while none is at work."""
        self._handed.extend(self._came[: MOST_CAME - len(self._handed)])
        self._came.clear()

    def frames(self, times: Sequence[float]) -> Pcm:
        """What was heard in these ticks, of what was handed over; in a thread."""
        made = []
        for now in times:
            pcm = self._hear(now)
            said = self._said.popleft() if self._said else None
            if pcm is None or said is None:
                made.append(said if pcm is None and said is not None else _SILENCE if pcm is None else pcm)
            else:
                made.append(_sum(pcm, said))
        return np.concatenate(made) if made else _SILENCE[:0]

    def _hear(self, now: float) -> Pcm | None:
        try:
            while self._handed and self._handed[0][2] <= now:
                self._ears.take(*self._handed.popleft())
            return self._ears.frame(now)
        except Exception:
            # What one side sends must not end the recording of the other.
            self._ears = Ears()
            if not self._failed:
                self._failed = True
                logger.exception("a side of a recording could not be heard")
            return None


class Recorder:
    """`gateway.media.engine.Recording`: two tracks, until `stop`, a full disk or the longest time."""

    def __init__(
        self, pacer: Pacer, writers: Workers, wanted: RecordingFile, ended: Callable[[str | None], None]
    ) -> None:
        """Raises MediaError 400 for a format or a number of channels that does not exist."""
        if wanted.format not in FORMATS or wanted.channels not in (1, 2):
            raise MediaError("recordings are wav or opus, of one or two channels", 400)
        self.tracks = Track(), Track()
        self._wanted = wanted
        self._pacer = pacer
        self._writers = writers
        self._ended = ended
        self._sides: dict[str, int] = {}
        self._due: list[float] = []
        self._at_work = self._stopping = False
        self._reason: str | None = None
        self._written = 0
        """Ticks in the file."""
        self._file: AudioFile | None = None
        self._path = ""
        self._ticking: int | None = pacer.add(self._tick)

    kept_by = ""

    @property
    def seconds(self) -> float:
        return self._written * TICK_MS / 1000

    @property
    def stopping(self) -> bool:
        """Whether nothing more comes into it, though its file may not be finished."""
        return self._stopping

    def side(self, party: str, other: str) -> Track:
        """The track of a party that talks with `other`: who comes in the place of somebody gets that one's."""
        if party not in self._sides:
            taken = self._sides.get(other)
            self._sides[party] = 1 - taken if taken is not None else 0
        return self.tracks[self._sides[party]]

    def stop(self, reason: str | None = None) -> None:
        if self._stopping:
            return
        self._stopping, self._reason = True, self._reason or reason
        self._pacer.remove(self._ticking)
        self._ticking = None
        if not self._at_work:
            self._work()

    def _tick(self, now: float) -> bool:
        self._due.append(now)
        if len(self._due) > MOST_DUE:
            self.stop("the disk is too slow")
        elif self.seconds >= self._wanted.longest:
            self.stop("it is as long as recordings may be")
        elif len(self._due) >= BATCH and not self._at_work:
            self._work()
        return self._ticking is not None

    def _work(self) -> None:
        self._at_work = True
        times, self._due = tuple(self._due), []
        for track in self.tracks:
            track.hand_over()
        last = self._stopping
        self._writers.do(lambda: self._write(times, last=last), lambda failure: self._wrote(failure, last=last))

    def _write(self, times: Sequence[float], *, last: bool) -> str:
        """Why it ends, "" where it goes on; in a thread."""
        try:
            if self._file is None:
                self._file = self._open()
            if times:
                left, right = (track.frames(times) for track in self.tracks)
                two = self._wanted.channels == 2
                self._file.write(np.stack((left, right), 1).reshape(-1) if two else _sum(left, right))
                self._written += len(times)
                self._require_space()
        except OSError as error:
            return error.strerror or str(error)
        finally:
            if last:
                self._close()
        return ""

    def _open(self) -> AudioFile:
        if not self._path:
            path = self._wanted.path
            self._path = path if isinstance(path, str) else path()
        self._require_space()
        return FORMATS[self._wanted.format](self._path, RATE, self._wanted.channels)

    def _require_space(self) -> None:
        folder = os.path.dirname(self._path) or "."
        found = os.statvfs(folder)
        if found.f_bavail * found.f_frsize < self._wanted.min_free:
            raise OSError("the disk is nearly full")

    def _close(self) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:
            self._reason = self._reason or error.strerror or str(error)

    def _wrote(self, failure: str | None, *, last: bool) -> None:
        """A batch is in the file, or why it is not; None: a fault of ours."""
        self._at_work = False
        if failure != "":
            self._reason = self._reason or failure or "it could not be written"
            self._due.clear()
        if last:
            self._ended(self._reason)
        elif self._stopping:
            self._work()
        elif failure != "":
            self.stop(self._reason)


class Recorders:
    """The recordings of one call: two at once at most, as a rule and a program may each want one."""

    def __init__(self, pacer: Pacer, writers: Workers) -> None:
        self._pacer = pacer
        self._writers = writers
        self._recorders: list[Recorder] = []

    def __bool__(self) -> bool:
        return bool(self._recorders)

    def begin(
        self, wanted: RecordingFile, ended: Callable[[str | None], None], changed: Callable[[], None]
    ) -> Recorder:
        """One more; `changed` has everybody's packets go where they are to go now, at its beginning and its end.

        Raises MediaError 500 where there are too many.
        """
        if len(self._recorders) >= MOST_AT_ONCE:
            raise MediaError("the call is being recorded already", 500)

        def over(reason: str | None) -> None:
            self._recorders.remove(recorder)
            changed()
            ended(reason)

        recorder = Recorder(self._pacer, self._writers, wanted, over)
        self._recorders.append(recorder)
        changed()
        return recorder

    def place(self, one: str, other: str) -> None:
        """These two talk with each other now."""
        for recorder in self._recorders:
            recorder.side(one, other)
            recorder.side(other, one)

    def tap(self, party: str, other: str, names: Mapping[int, str]) -> Callable[[MediaPacket, float], None] | None:
        """What takes the packets of a party that talks with `other`; None where nothing is recorded."""
        taps = [recorder.side(party, other).tap(names) for recorder in self._recorders]
        return _both(taps)

    def said(self, party: str, other: str) -> Callable[[Pcm], None] | None:
        """What takes 20 ms that a program says; None where nothing is recorded."""
        return _both([recorder.side(party, other).say for recorder in self._recorders])

    def stop(self) -> None:
        """End all of them."""
        for recorder in tuple(self._recorders):
            recorder.stop()


P = ParamSpec("P")


def _both(taps: Sequence[Callable[P, None]]) -> Callable[P, None] | None:
    if len(taps) < 2:
        return taps[0] if taps else None

    def take(*args: P.args, **named: P.kwargs) -> None:
        for tap in taps:
            tap(*args, **named)

    return take


def _sum(one: Pcm, other: Pcm) -> Pcm:
    both: Pcm = np.clip(one.astype(np.int32) + other, -32768, 32767).astype(np.int16)
    return both
