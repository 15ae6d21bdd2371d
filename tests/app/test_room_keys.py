"""Which calls are recorded, where, how many rooms there are, and how long files stay: as the configuration says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock

import pytest

from gateway.app import room_settings
from gateway.call.call import Call
from gateway.call.routing import ROOM, ApplicationTarget
from gateway.call.state import State
from gateway.conference.room import Room, RoomError, RoomSettings
from gateway.conference.rooms import RoomLimits, Rooms
from gateway.config import Config
from gateway.dialing.applications import Application
from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.engine import Kind, MediaError, Party, RecordingFile
from gateway.recording.recordings import RecordingError, Recordings, RecordingSettings
from sdp import SessionDescription, read_codecs
from tests.media.engine_support import phone_sdp, running
from tests.rows import by_row


class Leg:
    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.address = self
        self.uri = f"sip:{identity}@gw.test"


class Answered:
    """A call that is up, and all calls there are."""

    def __init__(self) -> None:
        self.id, self.state, self.bridge = "c1", State.CONNECTED, self
        self.legs = Leg("1001"), Leg("alice")
        self.caller, self.record, self.dialled = self.legs[0], self, "alice"

    def get(self, call_id: str) -> Answered:
        return self


class Written:
    """A recording with nothing in it."""

    seconds = 0.0
    kept_by = ""

    def __init__(self, ended: Callable[[str | None], None]) -> None:
        self._ended = ended

    def stop(self, reason: str | None = None) -> None:
        self._ended(reason)


class Engine:
    """Takes what it is to record."""

    def __init__(self) -> None:
        self.wanted: list[Path] = []

    def record(self, call_id: str, file: RecordingFile, ended: Callable[[str | None], None]) -> Written:
        assert callable(file.path)
        self.wanted.append(Path(file.path()))
        return Written(ended)


def is_user(who: str) -> bool:
    return who in ("1001", "alice")


def of(folder: Path, **settings: Any) -> tuple[Recordings, Engine, Answered]:
    engine, call = Engine(), Answered()
    return (
        Recordings(
            RecordingSettings(folder=folder, **settings), cast(Any, engine), cast(Any, call), lambda: 0.0, is_user
        ),
        engine,
        call,
    )


@by_row(("patterns", "recorded"), [((), 0), (("al*",), 1), (("1001",), 1), (("trunk:*",), 0)])
async def test_calls_of_whom_the_configuration_names_are_recorded(
    patterns: tuple[str, ...], recorded: int, tmp_path: Path
) -> None:
    """recording.calls, in recording.folder."""
    folder = tmp_path / "kept"
    recordings, engine, call = of(folder, calls=patterns)
    recordings.call_changed(cast(Call, call))
    assert [one.parent for one in engine.wanted] == [folder] * recorded
    await recordings.close()


async def test_who_comes_to_a_call_by_a_transfer_is_recorded_as_the_rules_say(tmp_path: Path) -> None:
    """Once for each coming: what an operator has ended is not begun anew by whoever else comes."""
    recordings, engine, call = of(tmp_path / "kept", calls=("carol",))
    recordings.call_changed(cast(Call, call))
    assert not engine.wanted
    call.legs = Leg("1001"), Leg("carol")
    for _ in range(2):
        recordings.call_changed(cast(Call, call))
    assert len(engine.wanted) == 1
    recordings.change("c1", on=False)
    call.legs = Leg("bob"), Leg("carol")
    recordings.call_changed(cast(Call, call))
    assert len(engine.wanted) == 1
    call.legs = Leg("bob"), Leg("dave")
    recordings.call_changed(cast(Call, call))
    call.legs = Leg("bob"), Leg("carol")
    recordings.call_changed(cast(Call, call))
    assert len(engine.wanted) == 2
    await recordings.close()


@pytest.mark.parametrize(("status", "tries"), [(503, 2), (501, 1)])
async def test_what_could_not_be_recorded_is_tried_again_at_the_next_change(
    status: int, tries: int, tmp_path: Path
) -> None:
    """Not where the media engine does not record at all."""
    recordings, engine, call = of(tmp_path / "kept", calls=("alice",))
    engine.record = MagicMock(side_effect=MediaError("no", status))  # type: ignore[method-assign]
    for _ in range(2):
        recordings.call_changed(cast(Call, call))
    assert engine.record.call_count == tries
    await recordings.close()


@pytest.mark.parametrize("may", [True, False])
def test_users_record_their_calls_where_they_may(may: bool, tmp_path: Path) -> None:
    """recording.by_users; never a trunk, nor a guest, whatever it calls itself."""
    recordings, _, _ = of(tmp_path, by_users=may)
    asked = [recordings.may_record(one) for one in ("1001", "trunk:pbx", "guest-7", None)]
    assert asked == [may, False, False, False]


@by_row(("keep", "left"), [(0.0, 1), (50.0, 0), (200.0, 1)])
async def test_recordings_are_kept_as_long_as_configured(keep: float, left: int, tmp_path: Path) -> None:
    """recording.keep, seconds; 0: for ever."""
    recordings, _, _ = of(tmp_path, keep=keep)
    file = tmp_path / "20260101-000000-c1.wav"
    file.touch()
    os.utime(file, (1000.0, 1000.0))
    assert await recordings.expire(1100.0) == 1 - left
    assert len(await recordings.kept()) == left


async def test_every_old_recording_goes_however_many_there_are(tmp_path: Path) -> None:
    """recording.keep; lists name the newest thousand only."""
    recordings, _, _ = of(tmp_path, keep=50.0)
    for number in range(1_002):
        file = tmp_path / f"20260101-{number:06}-c1.wav"
        file.touch()
        old = number < 2
        os.utime(file, (1000.0, 1000.0) if old else (1090.0, 1090.0))
    assert await recordings.expire(1100.0) == 2
    assert len(os.listdir(tmp_path)) == 1_000


async def test_what_is_said_of_a_recording_without_sound_goes_as_well(tmp_path: Path) -> None:
    """Nothing was ever heard, or somebody deleted the file: what goes on, what is young and what is not ours stays."""
    recordings, _, _ = of(tmp_path, keep=50.0)
    recordings.change("c1", on=True)
    goes_on = set(os.listdir(tmp_path))
    assert len(goes_on) == 1
    gone = ["20260101-000000-c1.json", "20260101-000000-c1.2.json", "20260101-000000-c2.json.new"]
    gone.append("20260101-000000-c3.json.0123abcd.new")
    kept = ["20260101-000001-young.json", "20260101-000002-c1.json", "20260101-000002-c1.wav", "notes.json"]
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    for name in os.listdir(tmp_path):
        os.utime(tmp_path / name, (1090.0, 1090.0) if name in kept[:3] else (1000.0, 1000.0))
    assert await recordings.expire(1100.0) == 0
    assert set(os.listdir(tmp_path)) == goes_on | set(kept)


@pytest.mark.parametrize("by_user", [True, False])
async def test_a_user_ends_what_users_began_and_nothing_else(by_user: bool, tmp_path: Path) -> None:
    """What a rule or an operator began goes on; so does what an operator wants as well."""
    recordings, engine, _ = of(tmp_path)
    stopped = MagicMock()
    engine.record = lambda *_: MagicMock(stop=stopped)  # type: ignore[method-assign]
    recordings.change("c1", on=True, by_user=by_user)
    if by_user:
        recordings.change("c1", on=False, by_user=True)
        assert stopped.call_count == 1
        recordings.change("c1", on=True, by_user=True)
        recordings.change("c1", on=True)
    else:
        recordings.change("c1", on=True, by_user=True)
    with pytest.raises(RecordingError) as refused:
        recordings.change("c1", on=False, by_user=True)
    assert (refused.value.status, stopped.call_count) == (403, int(by_user))
    recordings.change("c1", on=False)
    assert stopped.call_count == 1 + by_user


@pytest.mark.parametrize("most", [1, 3])
def test_there_are_no_more_rooms_than_configured(most: int) -> None:
    """conference.max_rooms."""
    nothing: Any = None
    rooms = Rooms(nothing, nothing, nothing, lambda: 0.0, is_user, RoomLimits(max_rooms=most))
    for number in range(most):
        rooms.open(f"r{number}", "1001")
    with pytest.raises(RoomError) as refused:
        rooms.open("another", "1001")
    assert refused.value.status == 503


@by_row(
    ("video", "answered"),
    [(None, ["H264", "VP8"]), (["vp8", "h264"], ["VP8", "H264"]), (["vp8"], ["VP8"]), (["av1"], []), ([], [])],
)
async def test_members_show_each_other_pictures_as_configured(video: list[str] | None, answered: list[str]) -> None:
    """rooms[].video: the codecs that the answer to a member's offer has, in that order; none refuses the section."""
    team = {"name": "team"} | ({"video": video} if video is not None else {})
    config = Config.model_validate({"rooms": [team]})
    application = Application()
    application.serve(ROOM, MagicMock(), video=lambda name: room_settings.room(config, name).video)
    program = application.leg(ApplicationTarget("room:team", "800"), "program").party
    phone, offer = Party("phone", Kind.RTP, private_source="127.0.0.1"), phone_sdp()
    offer += "m=video 5004 RTP/AVP 97 98\r\na=rtpmap:97 VP8/90000\r\na=rtpmap:98 H264/90000\r\n"
    async with running() as (engine, _):
        await engine.offer("call", phone, program, offer)
        answer = SessionDescription.parse(await engine.answer("call", program, phone, SERVICE_DESCRIPTION))
    assert [codec.name for codec in read_codecs(answer.media[1])] == answered or not answer.media[1].port
    assert bool(answer.media[1].port) is bool(answered)


@pytest.mark.parametrize("most", [None, 3])
async def test_a_browser_sees_as_many_at_once_as_configured(most: int | None) -> None:
    """rooms[].max_videos: what the room's conference is made for."""
    config = Config.model_validate({"rooms": [{"name": "team"} | ({"max_videos": most} if most else {})]})
    made, nothing, session = MagicMock(side_effect=MediaError("none", 501)), MagicMock(), AsyncMock()
    rooms = Rooms(made, lambda name: room_settings.room(config, name), nothing, lambda: 0.0, is_user)
    await rooms.attend(session, "team")
    made.assert_called_once_with(most or 8, 8)


@by_row("rooms", [[], [{"name": "team"}]])
@by_row("most", [None, 0, 3])
async def test_as_many_are_heard_at_once_as_configured(most: int | None, rooms: list[dict[str, Any]]) -> None:
    """conference.max_speakers: of every room, whether it has an entry or not."""
    values = {"rooms": rooms} | ({"conference": {"max_speakers": most}} if most is not None else {})
    config = Config.model_validate(values)
    made, nothing, session = MagicMock(side_effect=MediaError("none", 501)), MagicMock(), AsyncMock()
    there = Rooms(made, lambda name: room_settings.room(config, name), nothing, lambda: 0.0, is_user)
    await there.attend(session, "team")
    made.assert_called_once_with(8, 8 if most is None else most)


@pytest.mark.parametrize("tones", [True, False])
def test_who_comes_and_goes_is_heard_as_configured(tones: bool) -> None:
    """rooms[].tones."""
    conference, session = MagicMock(), MagicMock()
    room = Room("team", RoomSettings(tones=tones), conference, lambda: 0.0, lambda *_: None, is_user)
    room.leave(room.enter(session))
    assert conference.say.call_count == (2 if tones else 0)
