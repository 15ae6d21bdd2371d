"""Recordings that begin and end within one moment: each has a file of its own and its own end."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.media.engine import MediaError, RecordingFile
from gateway.recording.recordings import RecordingError, Recordings, RecordingSettings
from tests.rows import by_row

NOW = 1_700_000_000.0


class Recorder:
    """A recording whose file is made, and finished, when the test says so."""

    kept_by = ""

    def __init__(self, wanted: RecordingFile, ended: Callable[[str | None], None]) -> None:
        assert callable(wanted.path)
        self.path, self.seconds, self.stopped = Path(wanted.path()), 1.0, False
        self.ended = ended

    def stop(self, reason: str | None = None) -> None:
        self.stopped = True

    def finish(self) -> None:
        self.path.write_bytes(b"RIFF")
        self.ended(None)


class Engine:
    """An engine and a conference that record."""

    def __init__(self) -> None:
        self.made: list[Recorder] = []

    def record(self, *wanted: Any) -> Recorder:
        self.made.append(Recorder(*wanted[-2:]))
        return self.made[-1]


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def recordings(engine: Engine, tmp_path: Path) -> Recordings:
    leg = SimpleNamespace(address=SimpleNamespace(uri="sip:a@b"))
    call = SimpleNamespace(id="call", bridge=object(), caller=leg, legs=[leg], record=SimpleNamespace(dialled="1"))
    calls: Any = {"call": call}
    wanted = RecordingSettings(folder=tmp_path / "recordings")
    return Recordings(wanted, engine, calls, lambda: NOW, lambda who: True)  # type: ignore[arg-type]


def room(recordings: Recordings, engine: Any, name: str) -> list[str]:
    """Record a room; hears its end."""
    over: list[str] = []
    recordings.room(name, engine, lambda: over.append(name))
    return over


async def test_names_that_look_alike_in_one_second_have_a_file_each(recordings: Recordings, engine: Engine) -> None:
    """Before any of them is on the disk."""
    for name in ("a/b", "a b", "a_b"):
        room(recordings, engine, name)
    assert len({recorder.path for recorder in engine.made}) == 3
    for recorder in engine.made:
        assert recorder.path.parent.stat().st_mode & 0o777 == 0o700
        recorder.finish()
    await recordings.close()
    kept = await recordings.kept()
    assert sorted(each["room"] for each in kept) == ["a b", "a/b", "a_b"]
    assert {each["ended"] for each in kept} == {"as was wanted"}


async def test_the_end_of_the_room_before_is_not_that_of_the_room_of_its_name(
    recordings: Recordings, engine: Engine
) -> None:
    """The last member goes and the first comes before the file of the former is finished."""
    before = room(recordings, engine, "team")
    after = room(recordings, engine, "team")
    engine.made[0].finish()
    assert before == ["team"]
    assert after == []
    engine.made[1].path.write_bytes(b"RIFF")
    with pytest.raises(RecordingError, match="not over yet"):
        await recordings.remove(engine.made[1].path.name)
    engine.made[1].finish()
    assert after == ["team"]
    await recordings.close()
    assert [each["seconds"] for each in await recordings.kept()] == [1.0, 1.0]


async def test_a_call_is_recorded_anew_while_what_was_ended_is_written(recordings: Recordings, engine: Engine) -> None:
    """On, off and on within a moment are two files, and the gateway's end waits for both."""
    recordings.change("call", on=True)
    recordings.change("call", on=False)
    assert not recordings.is_recorded("call")
    recordings.change("call", on=True)
    first, second = engine.made
    assert (first.stopped, second.stopped) == (True, False)
    assert first.path != second.path
    first.finish()
    assert recordings.is_recorded("call")
    closing = asyncio.ensure_future(recordings.close())
    await asyncio.sleep(0)
    assert second.stopped
    assert not closing.done()
    second.finish()
    await asyncio.wait_for(closing, 30)
    assert not recordings.is_recorded("call")


async def test_nothing_is_asked_of_the_disk_until_the_writing_thread_asks(
    recordings: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that hangs holds up no call; a recording that cannot begin leaves nothing."""
    folder, kept = tmp_path / "recordings", list[tuple[RecordingFile, Callable[[str | None], None]]]()

    def record(*wanted: Any) -> Any:
        kept.append(wanted[-2:])
        return SimpleNamespace(seconds=0.0, kept_by="")

    room(recordings, SimpleNamespace(record=record), "team")
    wanted, ended = kept[0]
    assert callable(wanted.path)
    assert not folder.exists()
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        wanted.path()
    ended("No space left on device")
    await recordings.close()
    assert list(folder.iterdir()) == []


async def test_whether_a_recording_is_there_is_asked_in_a_thread(
    recordings: Recordings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that hangs would hold up every call; a name that none can have is not asked for."""
    room(recordings, engine, "team")
    engine.made[0].path.write_bytes(b"RIFF")
    asking: list[threading.Thread] = []
    is_file = Path.is_file

    def asked(path: Path) -> bool:
        asking.append(threading.current_thread())
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", asked)
    assert await recordings.path(engine.made[0].path.name) == engine.made[0].path
    for absent in ("20260101-000000-nobody.wav", "../secret.wav"):
        with pytest.raises(RecordingError, match="no such recording"):
            await recordings.path(absent)
    assert len(asking) == 2
    assert threading.main_thread() not in asking


async def test_a_recording_that_the_engine_refuses_leaves_nothing(
    recordings: Recordings, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be tried again."""

    def refuse(*wanted: Any) -> Recorder:
        raise MediaError("no", 501)

    monkeypatch.setattr(engine, "record", refuse)
    with pytest.raises(MediaError):
        room(recordings, engine, "team")
    assert not (tmp_path / "recordings").exists()
    await recordings.close()


@by_row(("tag", "begins"), [("user", True), ("trunk", False), ("guest", False), ("nobody", False)])
async def test_digits_of_none_but_a_user_begin_a_recording(tag: str, begins: bool, tmp_path: Path) -> None:
    """A trunk's, a guest's and a stranger's are digits of the call."""
    identities = {"user": "1001", "trunk": "trunk:pbx", "guest": "guest-7", "nobody": None}
    legs: dict[str, Any] = {
        name: SimpleNamespace(party=SimpleNamespace(tag=name), identity=one, address=SimpleNamespace(uri="sip:a@b"))
        for name, one in identities.items()
    }
    record = SimpleNamespace(dialled="1")
    call: Any = SimpleNamespace(id="call", bridge=object(), caller=legs["user"], legs=[*legs.values()], record=record)
    engine: Any = Engine()
    wanted = RecordingSettings(folder=tmp_path, by_users=True, digits="*9")
    recordings = Recordings(wanted, engine, {"call": call}, lambda: NOW, lambda who: who == "1001")  # type: ignore[arg-type]
    for digit in "1**9":
        recordings.pressed(call, legs[tag], digit)
    assert bool(engine.made) is begins
