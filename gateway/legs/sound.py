"""What a session hears and says, as arrays of samples."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable

import numpy as np

from gateway.legs.speech import Samples, SpeechDetector, Utterance
from gateway.media.engine import AudioPort, Conference, Seat

_WAITING_FRAMES = 500
"""Frames of 20 ms kept for a program that does not ask for them; the oldest go first."""


class Sound:
    """The engine's port of one program, until the call ends."""

    def __init__(self, port: AudioPort) -> None:
        self._port = port
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._over = self._cut = False
        self._waiters: weakref.WeakSet[asyncio.Event] = weakref.WeakSet()
        port.on_said(self._quiet.set)

    @property
    def waiting(self) -> float:
        """Seconds that are not said yet."""
        return self._port.waiting

    def close(self) -> None:
        """The call is over: whoever listens or speaks stops."""
        self._over = True
        self._quiet.set()
        for waiter in self._waiters:
            waiter.set()

    def frames(self, rate: int) -> AsyncIterator[Samples]:
        """What is heard from now on, 20 ms at a time, until the end of the call; the last ten seconds wait.

        Raises MediaError 400 for another rate than `AudioPort.listen` has.
        """
        return self._frames(rate)

    def _frames(self, rate: int) -> _Frames:
        frames = _Frames(lambda: self._over)
        # What nobody refers to any more is not listened for: it need not be iterated to its end, or at all.
        frames.close = weakref.finalize(frames, self._port.listen(frames.heard(), rate))
        frames.close.atexit = False
        self._waiters.add(frames.news)
        return frames

    def utterances(self, rate: int, silence: float, longest: float) -> AsyncIterator[Utterance]:
        """What is said from now on, utterance by utterance. Raises MediaError as `frames` does."""
        return _utterances(self._frames(rate), SpeechDetector(rate, silence=silence, longest=longest))

    async def play(self, pcm: Samples, rate: int, *, until_speech: bool) -> bool:
        """Say it; whether it was said to its end. With `until_speech` it stops when the other side speaks.

        Whoever is cancelled while it is said stops it. Raises MediaError as `AudioPort.say` does.
        """
        self._cut = False
        self._quiet.clear()
        self.say(pcm, rate)
        if not self._port.waiting:
            return True
        speech = asyncio.ensure_future(self._speech(rate)) if until_speech else None
        quiet = asyncio.ensure_future(self._quiet.wait())
        both = [task for task in (quiet, speech) if task is not None]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not self._quiet.is_set():
                self.stop()
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        return not self._cut and not self._over

    def say(self, pcm: Samples, rate: int) -> None:
        """Say it after all that waits. Raises MediaError as `AudioPort.say` does."""
        self._port.say(np.ascontiguousarray(pcm, np.int16).tobytes(), rate)

    def join(self, conference: Conference, name: str, group: str | None = None) -> Seat:
        """Have the caller be part of a conference; raises MediaError as `Conference.seat`."""
        return conference.seat(self._port, name, group)

    def stop(self) -> None:
        """Say no more of what waits."""
        self._cut = True
        self._port.clear()
        self._quiet.set()

    async def _speech(self, rate: int) -> None:
        """Return once the other side speaks, or the call is over."""
        detector = SpeechDetector(rate)
        with contextlib.closing(self._frames(rate)) as frames:
            async for frame in frames:
                detector.hear(frame)
                if detector.speaking:
                    return


class _Frames:
    """Frames as they come, for one program; what it does not fetch for ten seconds is lost."""

    close: weakref.finalize[[], _Frames]
    """Stops listening."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self.news = asyncio.Event()
        self._is_over = is_over
        self._frames: deque[Samples] = deque(maxlen=_WAITING_FRAMES)

    def heard(self) -> Callable[[bytes], None]:
        """What takes 20 ms; it does not hold this object."""
        frames, news = self._frames, self.news

        def take(pcm: bytes) -> None:
            frames.append(np.frombuffer(pcm, np.int16))
            news.set()

        return take

    def __aiter__(self) -> AsyncIterator[Samples]:
        return self

    async def __anext__(self) -> Samples:
        while not self._frames:
            if self._is_over():
                raise StopAsyncIteration
            self.news.clear()
            await self.news.wait()
        return self._frames.popleft()


async def _utterances(frames: _Frames, detector: SpeechDetector) -> AsyncIterator[Utterance]:
    with contextlib.closing(frames):
        async for frame in frames:
            utterance = detector.hear(frame)
            if utterance is not None:
                yield utterance
