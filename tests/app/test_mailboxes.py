"""Messages that are being left, as other processes on the same folder find them."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.people.board import Board
from gateway.people.mailboxes import MailboxCounts
from gateway.voicemail.mailboxes import Mailboxes, VoiceMessage
from gateway.voicemail.programs import Voicemail, VoicemailSettings

pytestmark = pytest.mark.asyncio

RATE = 16_000
MESSAGE = VoiceMessage(
    id="20261122-200001-0123456789abcdef", caller="sip:a@b", display_name="", at=0.0, seconds=0.0, new=True
)


class Process:
    """Of a gateway what deals with the mailboxes of a folder, in whose files it reads so many seconds."""

    def __init__(self, folder: Path, seconds: float = 2.0) -> None:
        self.boxes = Mailboxes(folder, max_messages=5, keep=0.0, longest=180.0)
        self.board = Board(MailboxCounts())
        self._seconds = seconds
        settings = VoicemailSettings(folder=folder, users=("alice",))
        self.voicemail = Voicemail(settings, lambda _: True, self.board, self._read, lambda: 0.0, lambda: "")

    def _read(self, path: str, rate: int, _: float) -> Any:
        assert Path(path).is_file()
        return np.zeros(round(self._seconds * rate), np.int16)

    async def begin(self) -> Path:
        """Somebody begins to leave a message."""
        path = await self.boxes.place("alice", MESSAGE)
        path.write_bytes(b"sound")
        return path

    async def kept(self) -> list[float]:
        """Seconds of the messages that are listed."""
        return [one["seconds"] for one in await self.voicemail.listed("alice")]

    def new(self) -> int:
        """How many new messages the light is for."""
        return self.board.of("alice").voice_new


async def test_what_is_being_left_to_a_process_that_lives_is_its_alone(tmp_path: Path) -> None:
    """Neither the start of another nor its looking again lists it; once it is whole both do, and its light is on."""
    older, newer = Process(tmp_path), Process(tmp_path)
    await older.begin()
    await newer.voicemail.load()
    assert await newer.voicemail.expire(0.0) == 0
    assert await newer.kept() == []
    await older.boxes.put("alice", MESSAGE)
    await newer.voicemail.expire(0.0)
    assert await newer.kept() == await older.kept() == [0.0]
    assert newer.new() == 1


@pytest.mark.parametrize(("seconds", "kept"), [(2.0, [2.0]), (0.5, [])])
async def test_what_was_being_left_to_a_process_that_died_since_is_found(
    tmp_path: Path, seconds: float, kept: list[float]
) -> None:
    """A gateway that was drained beside this one is killed; what is too short is no message."""
    path = await Process(tmp_path).begin()
    about = path.with_suffix(".part").read_bytes()
    living = Process(tmp_path, seconds)
    await living.voicemail.load()
    assert await living.kept() == []
    path.with_suffix(".part").unlink()  # as the end of its process opens the lock
    path.with_suffix(".part").write_bytes(about)
    await living.voicemail.expire(0.0)
    assert await living.kept() == kept
    assert living.new() == len(kept)


async def test_a_message_that_cannot_be_opened_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its user may write nothing there, or no file is left to this process: others are found, and old ones expire."""
    path = await Process(tmp_path).boxes.place("alice", MESSAGE)
    path.write_bytes(b"sound")
    other = await Process(tmp_path).boxes.place("bob", MESSAGE)
    other.write_bytes(b"sound")
    for begun in (path.with_suffix(".part"), other.with_suffix(".part")):
        about = begun.read_bytes()
        begun.unlink()  # as the end of its process opens the lock
        begun.write_bytes(about)
    opening = os.open

    def refused(name: Any, *how: Any, **more: Any) -> int:
        if name == path.with_suffix(".part"):
            raise PermissionError(errno.EACCES, "not yours")
        return opening(name, *how, **more)

    monkeypatch.setattr(os, "open", refused)
    living = Process(tmp_path)
    await living.voicemail.load()
    await living.voicemail.expire(0.0)
    assert (living.new(), living.board.of("bob").voice_new) == (0, 1)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is on a disk that knows none."""

    def refused(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks there")

    monkeypatch.setattr(fcntl, "flock", refused)


@pytest.mark.usefixtures("no_locks")
async def test_without_locks_what_is_being_left_is_listed_by_its_own_process_once_it_is_whole(tmp_path: Path) -> None:
    """However often it looks for what others have left; nor does another look for that but at its start."""
    living, other = Process(tmp_path), Process(tmp_path)
    await other.voicemail.load()
    await living.begin()
    for process in (living, other):
        await process.voicemail.expire(0.0)
        assert (await process.kept(), process.new()) == ([], 0)
    await living.boxes.put("alice", replace(MESSAGE, seconds=60.0))
    await living.voicemail.expire(0.0)
    assert (await living.kept(), living.new()) == ([60.0], 1)


@pytest.mark.usefixtures("no_locks")
async def test_without_locks_what_was_being_left_to_a_process_that_died_is_found_at_the_next_start(
    tmp_path: Path,
) -> None:
    """By who starts, which does not tell whether it has died."""
    await Process(tmp_path).begin()
    newer = Process(tmp_path)
    await newer.voicemail.load()
    assert (await newer.kept(), newer.new()) == ([2.0], 1)


@pytest.mark.usefixtures("no_locks")
async def test_what_another_has_found_and_deleted_does_not_come_back(tmp_path: Path) -> None:
    """A disk that knows no locks: what is still being said is listed with what there is so far."""
    older, newer = Process(tmp_path), Process(tmp_path)
    path = await older.begin()
    await newer.voicemail.load()
    assert await newer.kept() == [2.0]
    assert await newer.voicemail.remove("alice", MESSAGE.id)
    await older.boxes.put("alice", MESSAGE)
    assert await older.kept() == []
    assert list(path.parent.iterdir()) == []


async def test_nothing_is_left_of_a_message_that_is_given_up(tmp_path: Path) -> None:
    """Neither sound nor what was known of it, nor a descriptor of that."""
    process = Process(tmp_path)
    path = await process.begin()
    part = path.with_suffix(".part")
    assert [str(part)] == opened(tmp_path)
    assert not await process.boxes.drop("alice", MESSAGE.id)
    assert (list(path.parent.iterdir()), opened(tmp_path)) == ([], [])


async def test_what_is_known_of_a_message_that_nobody_ended_is_closed_when_it_is_old(tmp_path: Path) -> None:
    """Its caller went between the two steps of its beginning."""
    process = Process(tmp_path)
    await process.begin()
    await process.boxes.expire(4_000_000_000.0)
    assert opened(tmp_path) == []


def opened(folder: Path) -> list[str]:
    """Files of the folder that this process has open."""
    found = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return [each for each in found if each.startswith(str(folder))]


async def test_the_sound_is_on_disk_before_its_message_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves no message without sound; a sound that cannot be synced lists none."""
    process = Process(tmp_path)
    sound = await process.begin()
    synced: list[str] = []
    is_broken = True

    def fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append(path.suffixes[0] if path.is_file() else "folder")
        if is_broken:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        await process.boxes.put("alice", MESSAGE)
    assert await process.kept() == []
    is_broken = False
    await process.boxes.put("alice", MESSAGE)
    assert synced == [sound.suffix, sound.suffix, ".json", "folder"]
