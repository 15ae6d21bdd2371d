"""Sound received and played by a session, as arrays of samples."""

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
"""Frames of 20 ms kept for a slow program; the oldest are dropped."""
_WAITING_TEXT, _LONGEST_TEXT = 10_000, 100
"""Pieces of text kept for a slow program, and characters of a piece; longer text is split."""

T = TypeVar("T")
_Playing = dict[asyncio.Future[bool], int]
"""Number of each piece in play by the future of its completion."""


class Sound:
    """The engine's audio port of a program, until the call ends."""

    def __init__(self, port: AudioPort) -> None:
        self._port = port
        self._over = False
        self._waiters: weakref.WeakSet[asyncio.Event] = weakref.WeakSet()
        self._playing: _Playing = {}
        port.on_said(partial(_end, self._playing, True))

    @property
    def waiting(self) -> float:
        """Seconds of queued sound."""
        return self._port.waiting

    def close(self) -> None:
        """Stop all listening and playing at the end of the call."""
        self._over = True
        _end(self._playing, False)
        for waiter in self._waiters:
            waiter.set()

    def frames(self, rate: int) -> AsyncIterator[Samples]:
        """Return received sound in frames of 20 ms until the call ends; keeps the last ten seconds.

        Raises MediaError 400 for a rate unknown to `AudioPort.listen`.
        """
        return self._frames(rate)

    def _frames(self, rate: int) -> _Pieces[Samples]:
        frames = _Pieces[Samples](lambda: self._over, _WAITING_FRAMES)
        take = frames.taker()
        return self._until_over(frames, self._port.listen(lambda pcm: take(np.frombuffer(pcm, np.int16)), rate))

    def _until_over(self, pieces: _Pieces[T], stop: Callable[[], None]) -> _Pieces[T]:
        """Stop listening with the last reference, because an iterator may be abandoned early or never started."""
        pieces.close = weakref.finalize(pieces, stop)
        pieces.close.atexit = False
        self._waiters.add(pieces.news)
        return pieces

    def utterances(self, rate: int, silence: float, longest: float) -> AsyncIterator[Utterance]:
        """Return received utterances one by one. Raises MediaError as `frames` does."""
        return _utterances(self._frames(rate), SpeechDetector(rate, silence=silence, longest=longest))

    async def play(self, pcm: Samples, rate: int, *, until_speech: bool) -> bool:
        """Play sound; return True if completed.

        After detected speech or a cancelled wait, the piece and all earlier queued sound are dropped, never later
        sound. Raises MediaError as `AudioPort.say` does.
        """
        piece = self.say(pcm, rate)
        if not self._port.waiting:
            return True
        completed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._playing[completed] = piece
        speech = asyncio.ensure_future(self._speech(rate)) if until_speech else None
        try:
            either: list[asyncio.Future[Any]] = [completed] if speech is None else [completed, speech]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return completed.done() and completed.result()
        finally:
            if not completed.done():
                self._take_back(piece)
            del self._playing[completed]
            if speech is not None:
                speech.cancel()
                await asyncio.gather(speech, return_exceptions=True)

    def say(self, pcm: Samples, rate: int) -> int:
        """Queue sound; return its number. Raises MediaError as `AudioPort.say` does."""
        return self._port.say(np.ascontiguousarray(pcm, np.int16).tobytes(), rate)

    def join(self, conference: Conference, name: str, group: str | None = None, label: str = "") -> Seat:
        """Make the caller a member of a conference; raises MediaError as `Conference.seat`."""
        return conference.seat(self._port, name, group, label)

    def text(self) -> AsyncIterator[str]:
        """Return the caller's real-time text, piece by piece, until the call ends."""
        pieces = _Pieces[str](lambda: self._over, _WAITING_TEXT)
        take = pieces.taker()

        def queue(text: str) -> None:
            for at in range(0, len(text), _LONGEST_TEXT):
                take(text[at : at + _LONGEST_TEXT])

        return self._until_over(pieces, self._port.on_text(queue))

    def type(self, text: str) -> None:
        """Send real-time text to the caller."""
        self._port.type(text)

    def stop(self) -> None:
        """Discard all queued sound."""
        self._port.clear()
        _end(self._playing, False)

    def _take_back(self, piece: int) -> None:
        """Discard a piece and all earlier queued sound."""
        self._port.clear(piece)
        _end({said: number for said, number in self._playing.items() if number <= piece}, False)
        if not self._port.waiting:
            _end(self._playing, True)  # later pieces were empty or are complete

    async def _speech(self, rate: int) -> None:
        """Return when the caller speaks or the call ends."""
        detector = SpeechDetector(rate)
        with contextlib.closing(self._frames(rate)) as frames:
            async for frame in frames:
                detector.hear(frame)
                if detector.speaking:
                    return


def _end(playing: _Playing, whole: bool) -> None:
    """Complete the futures of all pieces; `whole` is True for pieces played completely."""
    for said in playing:
        if not said.done():
            said.set_result(whole)


class _Pieces(Generic[T]):
    """Queue of received items for a program; the oldest are dropped when full."""

    close: weakref.finalize[[], _Pieces[T]]
    """Stops listening."""

    def __init__(self, is_over: Callable[[], bool], most: int) -> None:
        self.news = asyncio.Event()
        self._is_over = is_over
        self._waiting: deque[T] = deque(maxlen=most)

    def taker(self) -> Callable[[T], None]:
        """Return a function that queues an item, without a reference to the queue object."""
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
