"""The registry: places calls, bounds them, ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import pytest

from gateway.call.call import Call
from gateway.call.leg import CalleeLeg, HungUp
from gateway.call.registry import CallLimits, Calls
from gateway.call.routing import Caller, Route, RouteError, Router, Target
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.media.engine import MediaFailed
from gateway.testing.engine import FakeEngine
from gateway.testing.leg import FakeLeg
from gateway.testing.timers import ManualTimers

OFFER = "v=0\r\n"
BOB = Caller("bob", ("*",))


class Nobody:
    def find(self, uri_or_user: str) -> User | None:
        return None


class Dialer:
    """One fake leg for every target, or none when `absent`."""

    def __init__(self) -> None:
        self.absent = False
        self.ready = asyncio.Event()
        self.ready.set()
        self.made: list[FakeLeg] = []

    async def legs(self, target: Target, call_id: str) -> Sequence[CalleeLeg]:
        await self.ready.wait()
        if self.absent:
            return []
        self.made.append(FakeLeg(f"{call_id}-callee"))
        return [self.made[-1]]


class Rig:
    def __init__(self, **limits: int) -> None:
        self.engine, self.dialer, self.timers = FakeEngine(), Dialer(), ManualTimers()
        numbers = count(1)
        self.calls = Calls(
            self.engine,
            Router(Nobody(), [Route("*", "sip:{user}@pbx.test")], []),
            self.dialer,
            self.timers,
            limits=CallLimits(**limits),
            new_id=lambda: f"call-{next(numbers)}",
        )

    async def place(self, caller: Caller = BOB) -> tuple[Call, FakeLeg]:
        leg = FakeLeg("caller")
        call = await self.calls.place(leg, caller, "1", OFFER)
        await self.settle()
        return call, leg

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


async def test_a_call_is_known_until_it_ends_and_then_on_record() -> None:
    """get, len and the history follow the call's life."""
    rig = Rig()
    states: list[State] = []
    rig.calls.observe(lambda call: states.append(call.state))
    call, leg = await rig.place()
    assert rig.calls.get(call.id) is call
    assert list(rig.calls) == [call]
    leg.says(HungUp())
    await rig.settle()
    assert len(rig.calls) == 0
    assert [record.cause for record in rig.calls.ended] == [Cause.CANCELLED]
    assert states == [State.CALLING, State.ENDED]


async def test_media_events_find_their_call_and_no_other() -> None:
    """An event of one call never touches another; an unknown id is ignored."""
    rig = Rig()
    (first, _), (second, _) = await rig.place(), await rig.place()
    rig.engine.emit(MediaFailed("no such call", "x", ""))
    rig.engine.emit(MediaFailed(first.id, "caller", "gone"))
    await rig.settle()
    assert first.state is State.ENDED
    assert second.state is State.CALLING


@pytest.mark.parametrize("limits", [{"max_calls": 2}, {"max_calls_per_caller": 2}, {"calls_per_second": 2}])
async def test_a_call_too_many_is_refused_and_the_others_go_on(limits: dict[str, int]) -> None:
    """Each limit answers 503 to the call beyond it, and lets go when a call ends or time passes."""
    rig = Rig(**limits)
    _, leg = await rig.place()
    await rig.place()
    with pytest.raises(RouteError) as refusal:
        await rig.place()
    assert refusal.value.cause is Cause.OVERLOADED
    assert len(rig.calls) == 2
    assert rig.calls.refused == {Cause.OVERLOADED: 1}
    leg.says(HungUp())
    await rig.settle()
    rig.timers.advance(1.0)
    await rig.place()


async def test_nobody_there_is_unavailable_and_leaves_nothing_behind() -> None:
    """A target without legs is 480, and the caller's count is given back."""
    rig = Rig(max_calls_per_caller=1)
    rig.dialer.absent = True
    for _ in range(3):
        with pytest.raises(RouteError) as refusal:
            await rig.place()
        assert refusal.value.cause is Cause.UNAVAILABLE
    rig.dialer.absent = False
    await rig.place()


async def test_closing_ends_every_call_and_refuses_new_ones() -> None:
    """Shutdown tells every leg and deletes all media."""
    rig = Rig()
    legs = [(await rig.place())[1] for _ in range(3)]
    await rig.calls.close(timeout=1)
    assert all(leg.told[-1][0] == "end" for leg in (*legs, *rig.dialer.made))
    assert rig.engine.calls == frozenset()
    with pytest.raises(RouteError):
        await rig.place()


async def test_calls_that_are_still_being_placed_count() -> None:
    """A burst does not slip past the limit while the store is asked where the callees are."""
    rig = Rig(max_calls=2, max_calls_per_caller=5)
    rig.dialer.ready.clear()
    placing = [asyncio.ensure_future(rig.place()) for _ in range(5)]
    await rig.settle()
    rig.dialer.ready.set()
    outcomes = await asyncio.gather(*placing, return_exceptions=True)
    assert [isinstance(outcome, RouteError) for outcome in outcomes] == [False, False, True, True, True]


async def test_a_call_that_is_being_placed_at_the_close_is_refused() -> None:
    """Nothing begins after the last call was ended."""
    rig = Rig()
    rig.dialer.ready.clear()
    placing = asyncio.ensure_future(rig.place())
    await rig.settle()
    await rig.calls.close(timeout=1)
    rig.dialer.ready.set()
    with pytest.raises(RouteError):
        await placing
    assert len(rig.calls) == 0


async def test_an_observer_that_breaks_keeps_nobody_else_from_hearing() -> None:
    """Metrics are not worth a call."""
    rig = Rig()
    seen: list[State] = []

    def broken(call: Call) -> None:
        raise RuntimeError("bug")

    rig.calls.observe(broken)
    rig.calls.observe(lambda call: seen.append(call.state))
    call, leg = await rig.place()
    leg.says(HungUp())
    await rig.settle()
    assert seen == [State.CALLING, State.ENDED]
    assert len(rig.calls) == 0
    await asyncio.wait_for(call.finished(), 1)
