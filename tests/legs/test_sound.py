"""What a program hears: from the moment it asks, bounded, and no longer than somebody has it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from gateway.legs.sound import Sound
from gateway.legs.speech import Samples
from gateway.media.engine import MediaError

RATE = 16_000
FRAME = RATE // 50


class Port:
    """An engine's port whose caller says what the test says."""

    waiting = 0.0

    def __init__(self) -> None:
        self.listeners: list[Callable[[bytes], None]] = []
        self.readers: list[Callable[[str], None]] = []
        self.shown: list[str] = []

    def listen(self, heard: Callable[[bytes], None], rate: int = RATE) -> Callable[[], None]:
        if rate != RATE:
            raise MediaError("no such rate", 400)
        self.listeners.append(heard)
        return lambda: self.listeners.remove(heard)

    def say(self, pcm: bytes, rate: int = RATE) -> int:
        return 1

    def clear(self, last: int | None = None) -> None: ...

    def on_said(self, said: Callable[[], None]) -> None: ...

    def on_text(self, heard: Callable[[str], None]) -> Callable[[], None]:
        self.readers.append(heard)
        return lambda: self.readers.remove(heard)

    def type(self, text: str) -> None:
        self.shown.append(text)

    def hear(self, pcm: Samples) -> None:
        for start in range(0, len(pcm), FRAME):
            for heard in tuple(self.listeners):
                heard(pcm[start : start + FRAME].astype(np.int16).tobytes())


def speech() -> Samples:
    """Half a second of silence, one of noise, one of silence."""
    noise = np.random.default_rng(1).normal(0, 3000, RATE)
    return np.concatenate([np.zeros(RATE // 2), noise, np.zeros(RATE)]).astype(np.int16)


async def test_what_was_said_before_the_first_utterance_was_awaited_is_heard() -> None:
    """Both ways of listening hear from when they were asked for."""
    port = Port()
    sound = Sound(port)
    frames, utterances = sound.frames(RATE), sound.utterances(RATE, 0.5, 30.0)
    port.hear(speech())
    utterance = await asyncio.wait_for(anext(utterances), 30)
    assert utterance.seconds == pytest.approx(1.7, abs=0.1)
    assert not (await asyncio.wait_for(anext(frames), 30)).any()
    sound.close()
    assert len([each async for each in frames]) == 124


async def test_only_the_last_ten_seconds_wait() -> None:
    """The oldest go first."""
    port = Port()
    sound = Sound(port)
    frames = sound.frames(RATE)
    port.hear(np.repeat(np.arange(600), FRAME).astype(np.int16))
    sound.close()
    assert [int(each[0]) async for each in frames] == list(range(100, 600))


async def test_who_is_not_there_any_more_is_not_listened_for() -> None:
    """Left in the middle, never begun, or cancelled while it waits."""
    port = Port()
    sound = Sound(port)
    frames = sound.frames(RATE)
    port.hear(speech())
    async for _ in frames:
        break
    del frames
    sound.utterances(RATE, 0.5, 30.0)
    task = asyncio.ensure_future(anext(sound.utterances(RATE, 0.5, 30.0)))
    await asyncio.sleep(0)
    assert len(port.listeners) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    del task
    assert port.listeners == []


async def test_a_rate_there_is_not_is_refused_at_once() -> None:
    """Not by the first frame."""
    with pytest.raises(MediaError):
        Sound(Port()).frames(11_025)


async def test_what_is_typed_is_read_until_the_end_of_the_call_and_by_nobody_who_is_gone() -> None:
    """Piece by piece, the last ten thousand, none of which is long; what is shown goes to the port."""
    port = Port()
    sound = Sound(port)
    text = sound.text()
    for number in range(10_002):
        port.readers[0](str(number))
    sound.type("hi")
    assert port.shown == ["hi"]
    assert [await anext(text), await anext(text)] == ["2", "3"]
    sound.text()
    assert len(port.readers) == 1
    port.readers[0]("x" * 2_000_000)
    sound.close()
    assert sum([len(each) async for each in text]) == 1_000_000


class Line(Port):
    """A port whose line is said when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: dict[int, int] = {}
        self._next = 1
        self._said: Callable[[], None] = lambda: None

    @property
    def line(self) -> list[int]:
        return list(self._pieces.values())

    @property
    def waiting(self) -> float:  # type: ignore[override]  # which the others never have
        return float(len(self._pieces))

    def say(self, pcm: bytes, rate: int = RATE) -> int:
        number, self._next = self._next, self._next + 1
        if pcm:
            self._pieces[number] = int(np.frombuffer(pcm, np.int16)[0])
        return number

    def clear(self, last: int | None = None) -> None:
        self._pieces = {number: one for number, one in self._pieces.items() if last is not None and number > last}

    def on_said(self, said: Callable[[], None]) -> None:
        self._said = said

    def all_said(self) -> None:
        self.clear()
        self._said()


def piece(number: int) -> Samples:
    return np.full(FRAME, number, np.int16)


@pytest.fixture
def line() -> Line:
    return Line()


async def playing(sound: Sound, number: int, *, until_speech: bool = False) -> asyncio.Task[bool]:
    """Something that is being said."""
    task = asyncio.create_task(sound.play(piece(number), RATE, until_speech=until_speech))
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("until_speech", [False, True])
async def test_what_is_played_after_a_cut_is_said_whoever_still_waits_for_what_was_cut(
    line: Line, until_speech: bool
) -> None:
    """One task says something, another stops it and says something else without a turn in between."""
    sound = Sound(line)
    first = await playing(sound, 1, until_speech=until_speech)
    sound.stop()
    second = asyncio.create_task(sound.play(piece(2), RATE, until_speech=until_speech))
    assert await first is False
    assert line.line == [2]
    line.all_said()
    assert await second is True
    assert line.listeners == []


@pytest.mark.parametrize("until_speech", [False, True])
async def test_what_is_played_right_after_another_was_cancelled_is_said_in_its_place(
    line: Line, until_speech: bool
) -> None:
    """`task.cancel()`, and `play` before that task has had its turn to be cancelled."""
    sound = Sound(line)
    first = await playing(sound, 1, until_speech=until_speech)
    asyncio.get_running_loop().call_later(0.1, line.all_said)
    first.cancel()
    assert await sound.play(piece(2), RATE, until_speech=until_speech) is True
    assert first.cancelled()


async def _wait(playing: Coroutine[Any, Any, bool]) -> None:
    task = asyncio.ensure_future(playing)
    try:
        await asyncio.wait((task,))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "within", [asyncio.ensure_future, lambda playing: asyncio.wait_for(playing, 60), asyncio.gather, _wait]
)
async def test_what_is_said_right_after_another_was_cancelled_is_said_in_its_place(
    line: Line, within: Callable[[Coroutine[Any, Any, bool]], Awaitable[object]]
) -> None:
    """`task.cancel()` and `say`, which waits for nothing, whichever task of that task's it is that plays."""

    async def program() -> None:
        await within(sound.play(piece(1), RATE, until_speech=False))

    sound = Sound(line)
    first = asyncio.create_task(program())
    for _ in range(4):  # turns until the innermost task plays
        await asyncio.sleep(0)
    assert line.line == [1]
    first.cancel()
    sound.say(piece(2), RATE)
    await asyncio.wait((first,))
    assert (first.cancelled(), line.line) == (True, [2])


async def test_a_farewell_of_who_was_cancelled_is_said_to_its_end_whatever_else_is_played(line: Line) -> None:
    """It catches CancelledError; cancelled once more it is stopped like any other."""

    async def program() -> bool:
        try:
            return await sound.play(piece(1), RATE, until_speech=False)
        except asyncio.CancelledError:
            return await sound.play(piece(2), RATE, until_speech=False)

    sound = Sound(line)
    farewells: list[bool | BaseException] = []
    for second in (3, 4):
        task = asyncio.create_task(program())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it has begun to say its farewell
        assert line.line == [2]
        if second == 4:
            task.cancel()
        other = await playing(sound, second)
        assert line.line == ([2, 3] if second == 3 else [4])
        line.all_said()
        assert await other is True
        farewells += await asyncio.gather(task, return_exceptions=True)
    assert farewells[0] is True
    assert isinstance(farewells[1], asyncio.CancelledError)


async def test_who_is_cancelled_once_its_piece_was_said_stops_nobody(line: Line) -> None:
    """The end was told, though it has had no turn since."""
    sound = Sound(line)
    first = await playing(sound, 1)
    line.all_said()
    sound.say(piece(2), RATE)
    first.cancel()
    sound.say(piece(3), RATE)
    await asyncio.wait((first,))
    assert line.line == [2, 3]


async def test_an_end_after_the_end_changes_nothing(line: Line) -> None:
    """The engine tells that all was said where it was stopped before whoever waits has had its turn."""
    sound = Sound(line)
    task = await playing(sound, 1)
    sound.stop()
    line.all_said()
    assert await task is False


async def test_who_has_played_is_not_kept_for_the_rest_of_the_call(line: Line) -> None:
    """A program may play a task a sentence, for hours."""
    sound = Sound(line)
    task = await playing(sound, 1)
    line.all_said()
    await task
    kept = weakref.ref(task)
    del task
    await asyncio.sleep(0)  # the loop has let go of it as well
    gc.collect()
    assert kept() is None


async def test_two_who_play_wait_for_the_end_of_both_and_each_takes_back_what_was_said_until_then(line: Line) -> None:
    """One line: what comes second is said after the first, and goes with it where the second one is cancelled."""
    sound = Sound(line)
    both = [await playing(sound, number) for number in (1, 2)]
    assert line.line == [1, 2]
    line.all_said()
    assert await asyncio.gather(*both) == [True, True]
    for cancelled, left in ((0, [2]), (1, [])):
        both = [await playing(sound, number) for number in (1, 2)]
        both[cancelled].cancel()
        await asyncio.wait((both[cancelled],))
        assert line.line == left
        line.all_said()
        assert await both[1 - cancelled] is bool(left)


async def test_who_has_nothing_to_say_after_another_who_is_cancelled_has_said_it(line: Line) -> None:
    """It waited for the end of what was said before."""
    sound = Sound(line)
    first = await playing(sound, 1)
    second = asyncio.create_task(sound.play(piece(2)[:0], RATE, until_speech=False))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is True


async def test_who_plays_when_the_call_ends_is_told_that_it_was_not_said(line: Line) -> None:
    """At once, and so is who listens."""
    sound = Sound(line)
    task = await playing(sound, 1)
    listening = asyncio.ensure_future(anext(sound.frames(RATE), None))
    await asyncio.sleep(0)
    sound.close()
    assert await task is False
    assert await listening is None


async def test_what_is_played_until_the_caller_speaks_is_cut_by_speech(line: Line) -> None:
    """And what comes next is said."""
    sound = Sound(line)
    task = await playing(sound, 1, until_speech=True)
    await asyncio.sleep(0)  # it has begun to listen
    line.hear(speech())
    assert await task is False
    assert line.line == []
    task = await playing(sound, 2)
    line.all_said()
    assert await task is True
