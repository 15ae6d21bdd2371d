"""Key frames that signalling asks for, and those that only signalling can ask for (RFC 5168)."""

from __future__ import annotations

from gateway.call.leg import Answered, KeyFrameRequested
from gateway.call.state import State
from gateway.media.engine import KeyFrameWanted, MediaError
from tests.call.rig import ANSWER, Rig


async def test_a_key_frame_that_signalling_asks_for_is_the_engines_to_ask() -> None:
    """Who asked is named; whom it sees the engine knows. One the engine cannot ask for changes nothing."""
    rig = await Rig().started()
    await rig.hears(rig.callee, Answered(ANSWER))
    await rig.hears(rig.callee, KeyFrameRequested())
    assert (rig.engine.requests[-1].verb, rig.engine.requests[-1].source) == ("request_key_frame", "callee0")
    rig.engine.script("request_key_frame", MediaError("cannot", 501))
    await rig.hears(rig.caller, KeyFrameRequested())
    rig.expect(State.CONNECTED)


async def test_a_key_frame_that_media_cannot_ask_for_is_asked_by_the_legs_signalling() -> None:
    """Of the one who is to send it, and of nobody else."""
    rig = await Rig().started()
    await rig.hears(rig.callee, Answered(ANSWER))
    rig.engine.emit(KeyFrameWanted("c1", "callee0"))
    rig.engine.emit(KeyFrameWanted("c1", "nobody"))
    await rig.settle()
    assert rig.callee.verbs.count("ask_key_frame") == 1
    assert "ask_key_frame" not in rig.caller.verbs
