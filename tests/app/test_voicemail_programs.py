"""What the two programs of voicemail say and ask, to a caller that is no real one."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from gateway.call.leg import DigitPressed, LegEvent
from gateway.legs.tones import DONE, LEFT, PROMPT, REFUSED, sound
from gateway.media.engine import MediaError, RecordingFile
from gateway.people.board import Board
from gateway.people.mailboxes import MailboxCounts
from gateway.voicemail import mailboxes
from gateway.voicemail import programs as voicemail
from gateway.voicemail.mailboxes import VoiceMessage
from gateway.voicemail.programs import Voicemail, VoicemailSettings

pytestmark = pytest.mark.asyncio

RATE, LONGEST = 16_000, 60
"""Samples a second, and the seconds that may wait to be said (Session.play)."""
NAMES = {"DONE": DONE, "LEFT": LEFT, "PROMPT": PROMPT, "REFUSED": REFUSED}
TONES = {len(sound(tone)): name for name, tone in NAMES.items()}
"""Names of the tones, by how long they are."""


class Caller:
    """A session: what it hears, by name or in seconds, and what it presses, each digit after so many of those."""

    def __init__(self, digits: dict[int, str] | None = None, recording: Callable[..., Any] | None = None) -> None:
        self.identity, self.ended = "alice", None
        self.caller = SimpleNamespace(uri="sip:bob@b", display_name="Bob")
        self.heard: list[str | float] = []
        self._digits = digits or {}
        self._pressed = asyncio.Queue[str]()
        self._recording = recording

    def say(self, pcm: Any) -> None:
        assert len(pcm) <= LONGEST * RATE
        self.heard.append(TONES.get(len(pcm), len(pcm) / RATE))
        if (digit := self._digits.pop(len(self.heard), None)) is not None:
            asyncio.get_running_loop().call_later(0.05, self._pressed.put_nowait, digit)  # when it is over

    async def play(self, pcm: Any) -> bool:
        self.say(pcm)
        return True

    async def answer(self) -> None: ...

    async def digit(self) -> str:
        return await self._pressed.get()

    def record(self, wanted: RecordingFile, ended: Callable[[str | None], None]) -> Any:
        assert self._recording is not None
        return self._recording(wanted, ended)

    async def __aiter__(self) -> AsyncIterator[LegEvent]:
        yield DigitPressed(await self.digit(), 100)


async def mailbox(folder: Path, *seconds: float, min_free: int = 0) -> Voicemail:
    """Of alice, with messages of so many seconds."""
    lengths = {f"20261122-20000{number}-0123456789abcdef": each for number, each in enumerate(seconds)}

    def read(path: str, rate: int, _: float) -> Any:
        return np.ones(round(lengths[Path(path).stem] * rate), np.int16)

    settings = VoicemailSettings(folder=folder, users=("alice",), min_free=min_free)
    made = Voicemail(settings, lambda _: True, Board(MailboxCounts()), read, lambda: 0.0, lambda: "0123456789abcdef")
    for at, each in enumerate(lengths):
        message = VoiceMessage(id=each, caller="sip:a@b", display_name="", at=at, seconds=1.0, new=True)
        path = await made._boxes.place("alice", message)
        path.write_bytes(b"sound")
        await made._boxes.put("alice", message)
    return made


async def listened(box: Voicemail, digits: dict[int, str] | None = None) -> list[str | float]:
    """What alice hears who presses these, each after so many pieces."""
    caller = Caller(digits)
    await asyncio.wait_for(box.listen(cast(Any, caller), ""), 30)
    return caller.heard


async def test_a_digit_counts_also_when_the_message_is_over(tmp_path: Path) -> None:
    """3 after its end deletes it, 1 says it again, 2 goes on to the next one."""
    box = await mailbox(tmp_path, 2.0, 3.0)
    heard = await listened(box, {2: "1", 4: "3", 7: "2"})
    assert heard == ["PROMPT", 2.0, "PROMPT", 2.0, "DONE", "PROMPT", 3.0, "LEFT"]
    assert [one["new"] for one in await box.listed("alice")] == [False]


async def test_who_presses_nothing_hears_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, for it may be a phone without keys."""
    monkeypatch.setattr(voicemail, "_CHOICE", 0.01)
    box = await mailbox(tmp_path, 2.0, 3.0)
    assert await listened(box) == ["PROMPT", 2.0, "PROMPT", 3.0, "LEFT"]
    assert len(await box.listed("alice")) == 2


async def test_a_message_of_more_than_a_minute_is_said_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may not have more than a minute wait."""
    monkeypatch.setattr(voicemail, "_CHOICE", 0.01)
    box = await mailbox(tmp_path, 70.0)
    heard = await listened(box)
    assert sum(each for each in heard if isinstance(each, float)) == 70.0


@pytest.mark.parametrize(
    ("seconds", "reason", "told", "kept"),
    [
        (2.0, None, "DONE", [2.0]),
        (0.2, None, "REFUSED", []),
        (0.0, "the disk is nearly full", "REFUSED", []),
        (9.0, "the disk is nearly full", "DONE", [9.0]),
    ],
)
async def test_who_leaves_a_message_hears_whether_it_is_kept(
    tmp_path: Path, seconds: float, reason: str | None, told: str, kept: list[float]
) -> None:
    """By a tone; of a disk without `min_free` octets what there was room for, where that is long enough."""
    box = await mailbox(tmp_path, min_free=7)
    wanted = list[RecordingFile]()

    def record(file: RecordingFile, ended: Callable[[str | None], None]) -> Any:
        wanted.append(file)
        Path(str(file.path)).write_bytes(b"sound")
        ended(reason)
        return SimpleNamespace(stop=lambda: None, seconds=seconds)

    caller = Caller({1: "#"}, record)
    await box.leave(cast(Any, caller), "alice")
    assert caller.heard == ["PROMPT", told]
    assert [one["seconds"] for one in await box.listed("alice")] == kept
    assert [(file.min_free, file.longest) for file in wanted] == [(7, 180.0)]


async def test_a_message_that_cannot_be_recorded_leaves_nothing(tmp_path: Path) -> None:
    """The caller hears so."""
    box = await mailbox(tmp_path)

    def refuse(file: RecordingFile, _: Any) -> None:
        assert Path(str(file.path)).with_suffix(".part").is_file()
        raise MediaError("no", 500)

    caller = Caller(recording=refuse)
    await box.leave(cast(Any, caller), "alice")
    assert caller.heard == ["PROMPT", "REFUSED"]
    assert list((tmp_path / "alice").iterdir()) == []


@pytest.mark.parametrize("is_full", [True, False])
async def test_what_its_caller_is_told_is_not_kept_is_not_found_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    """The disk is full at its end, or its user has found it on another gateway and deleted it."""
    box = await mailbox(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    def record(wanted: RecordingFile, ended: Callable[[str | None], None]) -> Any:
        assert isinstance(wanted.path, str)
        Path(wanted.path).write_bytes(b"sound")
        if is_full:
            monkeypatch.setattr(mailboxes, "write_whole", full)
        else:
            Path(wanted.path).with_suffix(".part").unlink()
        ended(None)
        return SimpleNamespace(stop=lambda: None, seconds=5.0)

    caller = Caller(recording=record)
    await asyncio.wait_for(box.leave(cast(Any, caller), "alice"), 30)
    assert caller.heard == ["PROMPT", "REFUSED"]
    assert list((tmp_path / "alice").iterdir()) == []
