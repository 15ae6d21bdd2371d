"""What a call that is over leaves to the garbage collector: nothing."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from gateway.call.branches import Branch
from gateway.call.call import Call
from gateway.call.leg import Answered, DigitPressed, HungUp
from gateway.call.state import State
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import Kind
from gateway.testing.leg import FakeLeg
from tests.media.engine_support import phone_sdp, running, until


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def one_call(engine: EmbeddedEngine, *, passed_on: bool = False) -> tuple[list[weakref.ref[object]], FakeLeg]:
    """What a call was made of, and the leg that did not hang up; `passed_on`: the caller's place was another's then."""
    caller, callee = FakeLeg("caller", Kind.RTP), FakeLeg("callee", Kind.RTP)
    loop = asyncio.get_running_loop()
    call = Call("c1", caller, Branch([callee]), phone_sdp(), dialled="callee", engine=engine, timers=loop)
    call.when_pressed(lambda leg, digit: call.stop())  # who listens may know the call
    call.start()
    await until(lambda: "invite" in callee.verbs)
    callee.says(Answered(phone_sdp(port=41002)))
    while call.state is not State.CONNECTED:  # noqa: ASYNC110  # whoever waited with it would hold it
        await asyncio.sleep(0)
    parties = engine._session("c1").parties
    kept: list[object] = [call, call.machine, caller, *parties, *[party.stations for party in parties]]
    made = [weakref.ref(one) for one in kept]
    kept.clear()
    ends = caller
    if passed_on:
        ends = FakeLeg("new", Kind.RTP)
        await engine.create_offer("c1", ends.party, callee.party)
        await engine.answer("c1", ends.party, None, phone_sdp(port=41004))
        call.replace(caller, ends)
        while ends not in call.legs:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
    ends.says(HungUp())
    await call.finished()
    return made, callee


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("passed_on", [False, True])
async def test_a_call_that_is_over_is_freed_at_once(passed_on: bool) -> None:
    """Nothing of it stands in a circle, for which calls would wait while the collector looks."""
    async with running() as (engine, _):
        made, left = await one_call(engine, passed_on=passed_on)
        await until(lambda: [one() for one in made] == [None] * len(made))
        # Who is still told of the leg that was left over gets an answer all the same.
        outcomes: list[bool] = []
        left.says(DigitPressed("1", 100, outcomes.append))
        assert outcomes == [False]
