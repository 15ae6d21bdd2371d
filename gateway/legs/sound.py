"""What a session hears and says, as arrays of samples."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from gateway.legs.speech import Samples, SpeechDetector, Utterance
from gateway.media.engine import AudioPort, Conference, Seat

_WAITING_FRAMES = 500
"""Frames of 20 ms kept for a program that does not ask for them; the oldest go first."""
_WAITING_TEXT, _LONGEST_TEXT = 10_000, 100
"""Pieces of text, likewise, and characters of one: who types long ones is told in several."""

T = TypeVar("T")
_Playing = dict[asyncio.Future[bool], int]
"""Whether each piece that is played was said to its end, and its number."""


class Sound:
    """The engine's port of one program, until the call ends."""

    def __init__(self, port: AudioPort) -> None:
        self._port = port
        self._over = False
        self._waiters: weakref.WeakSet[asyncio.Event] = weakref.WeakSet()
        self._playing: _Playing = {}
        port.on_said(partial(_end, self._playing, True))

    @property
    def waiting(self) -> float:
        """Seconds that are not said yet."""
        return self._port.waiting

    def close(self) -> None:
        """The call is over: whoever listens or speaks stops."""
        self._over = True
        _end(self._playing, False)
        for waiter in self._waiters:
            waiter.set()

    def frames(self, rate: int) -> AsyncIterator[Samples]:
        """What is heard from now on, 20 ms at a time, until the end of the call; the last ten seconds wait.

        Raises MediaError 400 for another rate than `AudioPort.listen` has.
        """
        return self._frames(rate)

    def _frames(self, rate: int) -> _Pieces[Samples]:
        frames = _Pieces[Samples](lambda: self._over, _WAITING_FRAMES)
        take = frames.taker()
        return self._until_over(frames, self._port.listen(lambda pcm: take(np.frombuffer(pcm, np.int16)), rate))

    def _until_over(self, pieces: _Pieces[T], stop: Callable[[], None]) -> _Pieces[T]:
        """Have `stop` called with the last reference: what comes need not be iterated to its end, or at all."""
        pieces.close = weakref.finalize(pieces, stop)
        pieces.close.atexit = False
        self._waiters.add(pieces.news)
        return pieces

    def utterances(self, rate: int, silence: float, longest: float) -> AsyncIterator[Utterance]:
        """What is said from now on, utterance by utterance. Raises MediaError as `frames` does."""
        return _utterances(self._frames(rate), SpeechDetector(rate, silence=silence, longest=longest))

    async def play(self, pcm: Samples, rate: int, *, until_speech: bool) -> bool:
        """Say it; whether it was said to its end. With `until_speech` it stops when the other side speaks.

        Then, and where whoever waits is cancelled, it is taken back with what waits before it, and nothing that was
        said since. Raises MediaError as `AudioPort.say` does.
        """
        piece = self.say(pcm, rate)
        if not self._port.waiting:
            return True
        said: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._playing[said] = piece
        speech = asyncio.ensure_future(self._speech(rate)) if until_speech else None
        try:
            either: list[asyncio.Future[Any]] = [said] if speech is None else [said, speech]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return said.done() and said.result()
        finally:
            if not said.done():
                self._take_back(piece)
            del self._playing[said]
            if speech is not None:
                speech.cancel()
                await asyncio.gather(speech, return_exceptions=True)

    def say(self, pcm: Samples, rate: int) -> int:
        """Say it after all that waits; gives its number, and raises MediaError, as `AudioPort.say` does."""
        return self._port.say(np.ascontiguousarray(pcm, np.int16).tobytes(), rate)

    def join(self, conference: Conference, name: str, group: str | None = None, label: str = "") -> Seat:
        """Have the caller be part of a conference; raises MediaError as `Conference.seat`."""
        return conference.seat(self._port, name, group, label)

    def text(self) -> AsyncIterator[str]:
        """What the caller types from now on, until the end of the call."""
        pieces = _Pieces[str](lambda: self._over, _WAITING_TEXT)
        take = pieces.taker()

        def heard(text: str) -> None:
            for at in range(0, len(text), _LONGEST_TEXT):
                take(text[at : at + _LONGEST_TEXT])

        return self._until_over(pieces, self._port.on_text(heard))

    def type(self, text: str) -> None:
        """Show it to the caller."""
        self._port.type(text)

    def stop(self) -> None:
        """Say no more of what waits."""
        self._port.clear()
        _end(self._playing, False)

    def _take_back(self, piece: int) -> None:
        """Say no more of that one, nor of what waits before it."""
        self._port.clear(piece)
        _end({said: number for said, number in self._playing.items() if number <= piece}, False)
        if not self._port.waiting:
            _end(self._playing, True)  # of what came since nothing was to be said, or all is

    async def _speech(self, rate: int) -> None:
        """Return once the other side speaks, or the call is over."""
        detector = SpeechDetector(rate)
        with contextlib.closing(self._frames(rate)) as frames:
            async for frame in frames:
                detector.hear(frame)
                if detector.speaking:
                    return


def _end(playing: _Playing, whole: bool) -> None:
    """Tell all who play that it is over, and whether it was said to its end."""
    for said in playing:
        if not said.done():
            said.set_result(whole)


class _Pieces(Generic[T]):
    """What comes for one program, in order; of what it does not fetch the oldest is lost."""

    close: weakref.finalize[[], _Pieces[T]]
    """Stops listening."""

    def __init__(self, is_over: Callable[[], bool], most: int) -> None:
        self.news = asyncio.Event()
        self._is_over = is_over
        self._waiting: deque[T] = deque(maxlen=most)

    def taker(self) -> Callable[[T], None]:
        """What takes one piece; it does not hold this object."""
        waiting, news = self._waiting, self.news

        def take(piece: T) -> None:
            waiting.append(piece)
            news.set()

        return take

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while not self._waiting:
            if self._is_over():
                raise StopAsyncIteration
            self.news.clear()
            await self.news.wait()
        return self._waiting.popleft()


async def _utterances(frames: _Pieces[Samples], detector: SpeechDetector) -> AsyncIterator[Utterance]:
    with contextlib.closing(frames):
        async for frame in frames:
            utterance = detector.hear(frame)
            if utterance is not None:
                yield utterance
