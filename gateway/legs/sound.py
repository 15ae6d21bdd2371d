"""What a session hears and says, as arrays of samples."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

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
        self._waiters: set[asyncio.Event] = set()
        port.on_said(self._quiet.set)

    def close(self) -> None:
        """The call is over: whoever listens or speaks stops."""
        self._over = True
        self._quiet.set()
        for waiter in self._waiters:
            waiter.set()

    async def frames(self, rate: int) -> AsyncIterator[Samples]:
        """What is heard from now on, 20 ms at a time, until the end of the call."""
        frames: deque[Samples] = deque(maxlen=_WAITING_FRAMES)
        news = asyncio.Event()

        def heard(pcm: bytes) -> None:
            frames.append(np.frombuffer(pcm, np.int16))
            news.set()

        stop = self._port.listen(heard, rate)
        self._waiters.add(news)
        try:
            while True:
                while frames:
                    yield frames.popleft()
                if self._over:
                    return
                news.clear()
                await news.wait()
        finally:
            self._waiters.discard(news)
            stop()

    async def utterances(self, rate: int, silence: float, longest: float) -> AsyncIterator[Utterance]:
        """What is said from now on, utterance by utterance."""
        detector = SpeechDetector(rate, silence=silence, longest=longest)
        async for frame in self.frames(rate):
            utterance = detector.hear(frame)
            if utterance is not None:
                yield utterance

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

    def join(self, conference: Conference, name: str) -> Seat:
        """Have the caller be part of a conference; raises MediaError as `Conference.seat`."""
        return conference.seat(self._port, name)

    def stop(self) -> None:
        """Say no more of what waits."""
        self._cut = True
        self._port.clear()
        self._quiet.set()

    async def _speech(self, rate: int) -> None:
        """Return once the other side speaks, or the call is over."""
        detector = SpeechDetector(rate)
        async for frame in self.frames(rate):
            detector.hear(frame)
            if detector.speaking:
                return
