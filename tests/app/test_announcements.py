"""What callers hear whose call fails, as it is configured (RFC 3960)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from gateway.call.leg import Address
from gateway.call.status import Cause
from gateway.config import Config
from gateway.dialing.announcements import Announcements, open_announcements
from gateway.errors import ConfigError
from gateway.legs.announcement import AnnouncementLeg
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.sources.program import ProgramAudio
from gateway.media.engine import MediaEngine
from gateway.testing.engine import FakeEngine
from gateway.testing.leg import FakeLeg
from tests.media.engine_support import config as media
from tests.media.tone_support import sine
from tests.rows import by_row

CAUSES = (
    *(Cause.BUSY, Cause.DECLINED, Cause.NO_ANSWER, Cause.UNAVAILABLE),
    *(Cause.UNREACHABLE, Cause.NOT_FOUND, Cause.FORBIDDEN, Cause.LINE_FULL),
)


class Caller(FakeLeg):
    """Somebody who has proved to be this one."""

    def __init__(self, identity: str | None = "alice") -> None:
        super().__init__("caller")
        self._identity = identity


async def opened(engine: MediaEngine | None = None, trunks: Any = (), **values: Any) -> Announcements:
    config = Config.model_validate({"announcements": values, "trunks": trunks})
    return await open_announcements(
        config, engine or EmbeddedEngine(media()), {trunk.name: trunk for trunk in config.every_trunk}
    )


def sound_of(leg: AnnouncementLeg | None) -> np.ndarray[Any, Any]:
    assert leg is not None
    return np.frombuffer(leg._sound, np.int16)


async def test_each_cause_has_the_sound_that_is_configured_for_it(tmp_path: Path) -> None:
    """Its own and no other; as much of it as configured, and silence after the last word."""
    for number, cause in enumerate(CAUSES):
        sine(str(tmp_path / f"{cause.word}.wav"), 300 + 200 * number, 2.0)
    for wanted in (CAUSES, CAUSES[:3]):
        files: dict[str, Any] = {cause.word.replace("-", "_"): str(tmp_path / f"{cause.word}.wav") for cause in wanted}
        there = await opened(**files, longest=1.5)
        assert {cause for cause in Cause if there.announces(cause, Caller())} == set(wanted)
        assert there.leg(Cause.GLARE, Caller(), "c") is None
        for number, cause in enumerate(wanted):
            pcm = sound_of(there.leg(cause, Caller(), "c"))
            assert len(pcm) == 1.7 * 16_000
            assert not pcm[-3_000:].any()
            spectrum = np.abs(np.fft.rfft(pcm[:16_000]))
            assert int(spectrum.argmax()) == 300 + 200 * number


async def test_the_longest_that_can_be_configured_is_said(tmp_path: Path) -> None:
    """A minute is the most that may wait to be said, with the silence after it."""
    sine(str(tmp_path / "long.wav"), 400, 70.0)
    there = await opened(busy=str(tmp_path / "long.wav"), longest=50)
    ProgramAudio().say(sound_of(there.leg(Cause.BUSY, Caller(), "c")).tobytes(), 16_000)
    with pytest.raises(ValueError, match="longest"):
        await opened(longest=51)


@pytest.mark.parametrize("most", [1, 3])
async def test_as_many_hear_one_at_once_as_configured(tmp_path: Path, most: int) -> None:
    """Who comes beyond is told at once, until one has heard its own or gone."""
    sine(str(tmp_path / "busy.wav"), 400)
    there = await opened(busy=str(tmp_path / "busy.wav"), max_calls=most)
    heard = [there.leg(Cause.BUSY, Caller(), f"{number}") for number in range(most)]
    assert all(heard)
    assert len({leg.party.tag for leg in heard if leg is not None}) == most
    assert not there.announces(Cause.BUSY, Caller())
    assert there.leg(Cause.BUSY, Caller(), "beyond") is None
    assert heard[0] is not None
    await heard[0].end(Cause.NORMAL)
    await heard[0].end(Cause.NORMAL)
    # The engine knows no call of that id: it is over as soon as it is asked.
    last = there.leg(Cause.BUSY, Caller(), "next")
    assert last is not None
    await last.invite("v=0\r\n", Address("sip:a@b"))
    assert there.leg(Cause.BUSY, Caller(), "another") is not None
    assert there.leg(Cause.BUSY, Caller(), "beyond") is None


@by_row("told", [None, False, True])
async def test_who_comes_by_a_trunk_hears_it_where_that_says_so(tmp_path: Path, told: bool | None) -> None:
    """Users and guests do anyway; another gateway, and a trunk that is no more, never."""
    sine(str(tmp_path / "busy.wav"), 400)
    trunk = {"name": "t", "uri": "sip:t.test"} | ({"announcements": told} if told is not None else {})
    there = await opened(trunks=[trunk, {"name": "u", "uri": "sip:u.test"}], busy=str(tmp_path / "busy.wav"))
    callers = {who: there.announces(Cause.BUSY, Caller(who)) for who in ("alice", None, "trunk:t", "trunk:u")}
    assert callers == {"alice": True, None: True, "trunk:t": bool(told), "trunk:u": False}
    assert not there.announces(Cause.BUSY, Caller("trunk:gone"))
    assert not there.announces(Cause.BUSY, Caller("node:other"))


async def test_a_file_without_sound_is_named_at_the_start(tmp_path: Path) -> None:
    """By its key: one that is not there, one that is no sound, one with nothing in it."""
    (tmp_path / "text.wav").write_text("no sound")
    sine(str(tmp_path / "empty.wav"), 400, 0.0)
    for name in ("none", "text", "empty"):
        with pytest.raises(ConfigError, match=r"announcements\.no_answer"):
            await opened(no_answer=str(tmp_path / f"{name}.wav"))


async def test_an_engine_that_says_nothing_is_told_of(tmp_path: Path) -> None:
    """The log says that callers hear none; without files it has nothing to say."""
    sine(str(tmp_path / "busy.wav"), 400)
    with capture_logs() as logs:
        there = await opened(FakeEngine(), busy=str(tmp_path / "busy.wav"))
        await opened(FakeEngine())
    assert [line["event"] for line in logs] == ["announcements: this media engine says none"]
    assert not there.announces(Cause.BUSY, Caller())
