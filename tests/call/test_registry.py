"""The registry: places calls, bounds them, ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import pytest
from structlog.testing import capture_logs

from gateway.call.call import Call
from gateway.call.leg import CalleeLeg, HungUp
from gateway.call.limits import Admission, CallLimits
from gateway.call.registry import Calls
from gateway.call.routing import Caller, Emergency, RoomDoor, Route, RouteError, Router, Target
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.media.engine import CallStatistics, MediaFailed
from gateway.testing.engine import FakeEngine
from gateway.testing.leg import FakeLeg
from gateway.testing.timers import ManualTimers
from tests.rows import by_row

OFFER = "v=0\r\n"
BOB = Caller("bob", ("1",))


class People:
    """One user, whom nobody dials."""

    def find(self, uri_or_user: str) -> User | None:
        return User("1001", sip=True) if uri_or_user == "1001" else None


class Dialer:
    """One fake leg for every target, or none when `absent`."""

    def __init__(self) -> None:
        self.absent = False
        self.ready = asyncio.Event()
        self.ready.set()
        self.made: list[FakeLeg] = []

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        await self.ready.wait()
        if self.absent:
            return []
        self.made.append(FakeLeg(f"{call_id}-callee"))
        return [self.made[-1]]


class Rig:
    def __init__(self, to: str = "sip:{user}@pbx.test", limits: CallLimits | None = None) -> None:
        self.engine, self.dialer, self.timers = FakeEngine(), Dialer(), ManualTimers()
        numbers = count(1)
        self.calls = Calls(
            self.engine,
            Router(
                People(),
                [Route("*", to)],
                [],
                {"pbx": ("pbx.test",)},
                Emergency(numbers=frozenset({"112"}), trunk="pbx"),
                rooms=RoomDoor(has_number=lambda number: True),
            ),
            self.dialer,
            self.timers,
            limits=limits,
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


async def test_the_log_names_a_new_call_and_a_refused_one_by_the_callers_call_id_too() -> None:
    """Whoever holds the caller's trace finds the gateway's call by it."""
    rig = Rig()
    with capture_logs() as lines:
        call, leg = await rig.place()
        with pytest.raises(RouteError):
            await rig.place(Caller("eve", ("600",)))
    new, refused = next(x for x in lines if x.get("state") == "new"), next(x for x in lines if "cause" in x)
    assert (new["call_id"], new["sip_call_id"]) == (call.id, ",".join(leg.references))
    assert refused["sip_call_id"]


async def test_numbers_near_each_other_are_called_so_often_and_no_more() -> None:
    """limits.prefix_calls_per_hour; the refused call takes no place, and calls in need go out."""
    rig = Rig("trunk:pbx", CallLimits(prefix_calls_per_hour=2))
    leg = FakeLeg("caller")
    calls = rig.calls

    async def dial(number: str) -> None:
        await calls.place(leg, Caller("bob", ("*", "2*", "trunk:pbx")), number, OFFER)

    await dial("2376001")
    await dial("2376002")
    with pytest.raises(RouteError, match="prefix_calls_per_hour"):
        await dial("2376003")
    assert len(calls) == 2
    for _ in range(3):
        await calls.place(leg, BOB, "112", OFFER)


async def test_a_call_refused_by_one_limit_counts_for_no_other() -> None:
    """Who tries again each second while all is taken is not braked by prefix, nor does the brake use up the rate."""
    rig = Rig("trunk:pbx", CallLimits(prefix_calls_per_hour=2, max_calls=1, calls_per_second=2))
    eve = Caller("eve", ("*", "2*", "trunk:pbx"))
    leg = FakeLeg("caller")

    async def refused(number: str) -> str:
        with pytest.raises(RouteError) as refusal:
            await rig.calls.place(FakeLeg("caller"), eve, number, OFFER)
        return str(refusal.value).partition(":")[0]

    await rig.calls.place(leg, eve, "2376001", OFFER)
    assert [await refused("2376002") for _ in range(5)] == ["limits.max_calls"] * 5
    await hung_up(rig, leg)
    await rig.calls.place(leg := FakeLeg("caller"), eve, "2376002", OFFER)
    await hung_up(rig, leg)
    assert [await refused("2376003") for _ in range(5)] == ["limits.prefix_calls_per_hour"] * 5
    await rig.calls.place(FakeLeg("caller"), eve, "2400000", OFFER)
    assert len(rig.calls) == 1


async def hung_up(rig: Rig, leg: FakeLeg) -> None:
    """The call is over, and a second has passed."""
    leg.says(HungUp())
    await rig.settle()
    rig.timers.advance(1.0)


async def test_media_events_find_their_call_and_no_other() -> None:
    """An event of one call never touches another; an unknown id is ignored."""
    rig = Rig()
    (first, _), (second, _) = await rig.place(), await rig.place()
    rig.engine.emit(MediaFailed("no such call", "x", ""))
    rig.engine.emit(MediaFailed(first.id, "caller", "gone"))
    await rig.settle()
    assert first.state is State.ENDED
    assert second.state is State.CALLING


@by_row(
    ("limits", "cause", "wait"),
    [
        ({"max_calls": 2}, Cause.LIMIT, 10),
        ({"max_calls_per_caller": 2}, Cause.TOO_MANY_OWN, 10),
        ({"calls_per_second": 2}, Cause.LIMIT, 1),
    ],
)
async def test_a_call_too_many_is_refused_and_the_others_go_on(limits: dict[str, int], cause: Cause, wait: int) -> None:
    """Each limit answers 503 to the call beyond it, says which it is, and lets go when a call ends or time passes."""
    rig = Rig(limits=CallLimits(**limits))
    _, leg = await rig.place()
    await rig.place()
    with pytest.raises(RouteError) as refusal:
        await rig.place()
    assert refusal.value.cause is cause
    assert refusal.value.retry_after == wait
    assert str(refusal.value).partition(":")[0].removeprefix("limits.") in (*limits, "max_calls")
    assert len(rig.calls) == 2
    assert rig.calls.refused == {cause: 1}
    leg.says(HungUp())
    await rig.settle()
    rig.timers.advance(1.0)
    await rig.place()


async def test_less_than_a_call_a_second_lets_the_first_one_in() -> None:
    """However seldom calls may come, one that comes first does not wait; the next one does."""
    rig = Rig(limits=CallLimits(calls_per_second=0.1))
    await rig.place()
    with pytest.raises(RouteError) as refusal:
        await rig.place()
    assert refusal.value.retry_after == 10


def test_a_rate_holds_for_every_second_and_not_for_the_first_alone() -> None:
    """So many calls a second on average, whoever has waited for long has one second's burst and no more."""
    admission = Admission(CallLimits(calls_per_second=4), 0.0)
    for now, let_in in ((0.0, 4), (0.5, 2), (1.0, 2), (60.0, 4), (60.25, 1)):
        for _ in range(let_in):
            admission.admit(BOB, None, now)
            admission.release(BOB)
        with pytest.raises(RouteError, match="calls_per_second"):
            admission.admit(BOB, None, now)


def guest(number: int, source: str) -> Caller:
    return Caller(f"guest-{number}", ("1",), guest=True, source=source)


def test_guests_of_one_address_count_over_all_gateways() -> None:
    """Who has two calls elsewhere has one left here; another address has all of its own."""
    admission = Admission(CallLimits(guest_calls_per_source=3), 0.0)
    elsewhere = {name: 2.0 for name in _counts_of(guest(0, "192.0.2.1")) if "192.0.2.1" in name}
    admission.others = lambda name: elsewhere.get(name, 0.0)
    admission.admit(guest(1, "192.0.2.1"), None, 0.0)
    with pytest.raises(RouteError) as refusal:
        admission.admit(guest(2, "192.0.2.1"), None, 0.0)
    assert refusal.value.cause is Cause.TOO_MANY_OWN
    for number in range(3):
        admission.admit(guest(number, "192.0.2.2"), None, 0.0)


def _counts_of(caller: Caller) -> dict[str, float]:
    other = Admission(CallLimits(), 0.0)
    other.admit(caller, None, 0.0)
    return other.counts()


async def test_guests_leave_the_places_that_are_kept_for_account_holders() -> None:
    """Strangers may take their share and no more, however many addresses they have."""
    rig = Rig(limits=CallLimits(max_calls=6, guest_calls=4, guest_calls_per_source=2))
    for number in range(4):
        await rig.place(guest(number, f"192.0.2.{number}"))
    with pytest.raises(RouteError) as refusal:
        await rig.place(guest(9, "192.0.2.9"))
    assert refusal.value.cause is Cause.LIMIT
    await rig.place()
    await rig.place()


async def test_guests_of_one_address_are_bounded_together() -> None:
    """A new name for each call helps nobody; another address is not hurt, and a place that is free again is given."""
    rig = Rig(limits=CallLimits(guest_calls_per_source=2))
    _, leg = await rig.place(guest(1, "192.0.2.1"))
    await rig.place(guest(2, "192.0.2.1"))
    with pytest.raises(RouteError) as refusal:
        await rig.place(guest(3, "192.0.2.1"))
    assert refusal.value.cause is Cause.TOO_MANY_OWN
    await rig.place(guest(4, "192.0.2.2"))
    leg.says(HungUp())
    await rig.settle()
    await rig.place(guest(3, "192.0.2.1"))


async def test_a_call_for_help_is_taken_when_everything_is_full() -> None:
    """Neither the number of calls nor their rate nor one's own limit holds it up."""
    rig = Rig(limits=CallLimits(max_calls=1, calls_per_second=1, max_calls_per_caller=1))
    await rig.place()
    with pytest.raises(RouteError):
        await rig.place()
    leg = FakeLeg("caller")
    assert await rig.calls.place(leg, BOB, "112", OFFER)


async def test_nobody_there_is_unavailable_and_leaves_nothing_behind() -> None:
    """A target without legs is 480, and the caller's count is given back."""
    rig = Rig(limits=CallLimits(max_calls_per_caller=1))
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


async def test_draining_refuses_new_calls_but_those_for_help_and_ends_with_the_last_call() -> None:
    """Refused callers are told how long to wait; a call that is up goes on until its own end."""
    rig = Rig()
    _, leg = await rig.place()
    draining = asyncio.create_task(rig.calls.drain(7.5))
    await rig.settle()
    assert rig.calls.draining
    with pytest.raises(RouteError) as refusal:
        await rig.place()
    assert (refusal.value.cause, refusal.value.retry_after) == (Cause.OUT_OF_SERVICE, 8)
    help_leg = FakeLeg("caller")
    await rig.calls.place(help_leg, BOB, "112", OFFER)
    leg.says(HungUp())
    await rig.settle()
    assert not draining.done()
    help_leg.says(HungUp())
    assert await asyncio.wait_for(draining, 30)


async def test_draining_lets_in_what_another_gateway_sends_to_a_user_here_and_waits_for_it() -> None:
    """Nobody else can ring that phone; also where it comes as the last call ends. Rooms are refused."""
    rig = Rig()
    _, leg = await rig.place()
    draining = asyncio.create_task(rig.calls.drain(30))
    await rig.settle()
    gateway = Caller("node:sip:192.0.2.1", ("*",), transit=False, calls="1001", device="here:")
    for not_sent_on in (replace(gateway, device=None), Caller(gateway.id, (), transit=False, room="47")):
        with pytest.raises(RouteError) as refusal:
            await rig.place(not_sent_on)
        assert refusal.value.cause is Cause.OUT_OF_SERVICE
    leg.says(HungUp())
    _, late = await rig.place(gateway)
    assert not draining.done()
    late.says(HungUp())
    assert await asyncio.wait_for(draining, 30)


async def test_draining_gives_up_after_its_time_and_is_done_at_once_without_calls() -> None:
    """Whether calls are left is what it says."""
    rig = Rig()
    assert await rig.calls.drain(30)
    other = Rig()
    await other.place()
    assert not await other.calls.drain(0.01)


async def test_who_hangs_up_at_the_limit_calls_again_while_the_media_is_yet_to_go() -> None:
    """The far ends have heard that the call is over, and the engine takes its time."""
    rig = Rig(limits=CallLimits(max_calls=1, max_calls_per_caller=1))
    gone, delete = asyncio.Event(), rig.engine.delete

    async def slowly(call_id: str) -> CallStatistics:
        await gone.wait()
        return await delete(call_id)

    rig.engine.delete = slowly  # type: ignore[method-assign]
    first, leg = await rig.place()
    leg.says(HungUp())
    await rig.settle()
    assert rig.dialer.made[0].told[-1] == ("end", Cause.CANCELLED)
    assert (len(rig.calls), rig.calls.of(BOB.id)) == (1, 0)
    second, _ = await rig.place()
    gone.set()
    await first.finished()
    assert (list(rig.calls), rig.calls.of(BOB.id)) == ([second], 1)


async def test_calls_that_are_still_being_placed_count() -> None:
    """A burst does not slip past the limit while the store is asked where the callees are."""
    rig = Rig(limits=CallLimits(max_calls=2, max_calls_per_caller=5))
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
    await asyncio.wait_for(call.finished(), 30)


@pytest.mark.parametrize("most", [1, 3])
async def test_as_many_ended_calls_are_kept_as_configured(most: int) -> None:
    """limits.history_size."""
    rig = Rig(limits=CallLimits(history=most))
    for _ in range(5):
        _, leg = await rig.place()
        leg.says(HungUp())
        await rig.settle()
    assert len(rig.calls.ended) == most
