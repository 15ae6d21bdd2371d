"""What a phone hears of the gateway while whoever it calls rings, by frequency."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app.media_settings import _ringback_of
from gateway.call.branches import Branch
from gateway.call.call import Call
from gateway.call.leg import Answered, Rejected, Ringing
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.config import Config
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.engine import Kind, MediaError, Party
from gateway.testing.leg import FakeLeg
from tests.media.engine_support import Phone, config, frequency_of, running, until
from tests.media.tone_support import sine

OWN, OF_TRUNK, VOICE = 1500, 700, 900
"""Hz of a user's ringback and of a trunk's, and of who answers."""


class Stage:
    """A phone that calls; its callee is a phone, too."""

    def __init__(self, call: Call, caller: FakeLeg, callee: FakeLeg, phone: Phone, other: Phone) -> None:
        self.call, self.caller, self.callee, self.phone, self.other = call, caller, callee, phone, other

    async def told(self, leg: FakeLeg, verb: str) -> str | None:
        """What it was told last by that verb."""
        await until(lambda: verb in leg.verbs)
        sdp = [value for what, value in leg.told if what == verb][-1]
        assert sdp is None or isinstance(sdp, str)
        return sdp

    async def hears(self, hertz: float) -> None:
        self.phone.packets.clear()
        await until(lambda: abs(frequency_of(*self.phone.heard("pcmu")) - hertz) < 8)


@contextlib.asynccontextmanager
async def calling(sounds: Mapping[str, str], callee: str | None, caller: str | None) -> AsyncIterator[Stage]:
    """A phone of `caller` calls one of `callee`, by their owners."""
    async with running(config(ringback_of=sounds)) as (engine, _):
        phone, other = await Phone(("pcmu",)).open(), await Phone(("pcmu",), ssrc=0x77).open()
        one, two = FakeLeg("caller", owner=caller), FakeLeg("callee", owner=callee)
        loop = asyncio.get_running_loop()
        call = Call("c1", one, Branch([two]), phone.sdp(), dialled="callee", engine=engine, timers=loop)
        engine.subscribe(call.media_event)
        call.start()
        stage = Stage(call, one, two, phone, other)
        try:
            other.take(str(await stage.told(two, "invite")))
            yield stage
        finally:
            call.stop()
            await call.finished()
            await phone.close()
            await other.close()


@pytest.fixture
def sounds(tmp_path: Path) -> dict[str, str]:
    """Of the user alice and of the trunk t, as their entries have them."""
    files = {name: str(tmp_path / f"{name}.wav") for name in ("alice", "t")}
    sine(files["alice"], OWN)
    sine(files["t"], OF_TRUNK)
    users = [{"id": "alice", "web": True, "ringback": files["alice"]}]
    trunks = [{"name": "t", "uri": "sip:t.test", "ringback": files["t"]}]
    return _ringback_of(Config.model_validate({"users": users, "trunks": trunks}))


@pytest.mark.parametrize(
    ("callee", "caller", "hertz"),
    [("alice", "bob", OWN), ("alice", "trunk:t", OWN), ("bob", "trunk:t", OF_TRUNK)],
)
async def test_a_caller_hears_what_the_callee_or_its_trunk_has_for_it(
    callee: str, caller: str, hertz: float, sounds: dict[str, str]
) -> None:
    """While it rings; then whoever has answered, by the description that it has already."""
    async with calling(sounds, callee, caller) as stage:
        stage.callee.says(Ringing())
        given = await stage.told(stage.caller, "ring")
        assert given is not None
        stage.phone.take(given)
        stage.phone.play(400.0)
        await stage.hears(hertz)
        stage.callee.says(Ringing())
        stage.other.play(VOICE)
        stage.callee.says(Answered(stage.other.sdp()))
        assert await stage.told(stage.caller, "answer") == given
        await until(lambda: stage.call.state is State.CONNECTED)
        await stage.hears(VOICE)
        assert stage.caller.verbs == ["ring", "answer"]


async def test_a_caller_is_rung_in_the_codec_that_its_answer_begins_with(sounds: dict[str, str]) -> None:
    """As its callee prefers: a phone that takes one codec at a time hears no other."""
    async with running(config(ringback_of=sounds, rtp_codecs=("g722", "pcmu"))) as (engine, _):
        phone = await Phone(("pcmu", "g722")).open()
        try:
            caller, callee = (Party(tag, Kind.RTP, private_source="127.0.0.1") for tag in ("a", "b"))
            await engine.offer("call", caller, replace(callee, prefer=("g722",)), phone.sdp())
            given = await engine.accept("call", caller, "to alice")
            first = next(line for line in given.splitlines() if line.startswith("m=audio")).split()[3]
            phone.take(given)
            await until(lambda: len(phone.packets) > 5)
            assert {RtpPacket.parse(data).payload_type for data, _ in phone.packets} == {int(first)} == {9}
        finally:
            await phone.close()


async def test_early_media_of_the_callee_takes_the_place_of_the_ringback(sounds: dict[str, str]) -> None:
    """As of a network behind it that plays its own."""
    async with calling(sounds, "alice", "bob") as stage:
        stage.callee.says(Ringing())
        stage.phone.take(str(await stage.told(stage.caller, "ring")))
        stage.phone.play(400.0)
        await stage.hears(OWN)
        stage.other.play(VOICE)
        stage.callee.says(Ringing(stage.other.sdp()))
        await stage.hears(VOICE)
        stage.callee.says(Rejected(Cause.BUSY))
        await until(lambda: stage.call.state is State.ENDED)


@pytest.mark.parametrize(("callee", "caller"), [("bob", "alice"), ("trunk:t", "bob"), (None, None)])
async def test_who_has_no_ringback_rings_as_before(
    callee: str | None, caller: str | None, sounds: dict[str, str]
) -> None:
    """Who calls has its own for those who call it, and what a trunk has is not for who calls by it to elsewhere; a user
    of the name None is not everybody who is no user."""
    async with calling({**sounds, "to None": sounds["to alice"]}, callee, caller) as stage:
        stage.callee.says(Ringing())
        assert await stage.told(stage.caller, "ring") is None


async def test_a_file_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    """At the start."""
    with pytest.raises(MediaError, match="ringback to alice"):
        async with running(config(ringback_of={"to alice": str(tmp_path / "none.wav")})):
            pass


async def test_who_has_a_file_that_cannot_be_had_rings_as_before(sounds: dict[str, str], tmp_path: Path) -> None:
    """After a reload that names one that is not there, or is as good as empty; a caller that is told nothing would
    else hear nothing."""
    short = str(tmp_path / "short.wav")
    sine(short, OWN, seconds=0.01)
    async with running(config(ringback_of=sounds)) as (engine, _):
        assert engine.capabilities.ringbacks == {"to alice", "from trunk:t"}
        engine.change(replace(engine.config, ringback_of={**sounds, "to bob": str(tmp_path / "none.wav")}))
        assert engine.capabilities.ringbacks == {"to alice", "from trunk:t"}
        engine.change(replace(engine.config, ringback_of={"to alice": sounds["to alice"], "to bob": short}))
        await until(lambda: engine.capabilities.ringbacks == {"to alice"})
