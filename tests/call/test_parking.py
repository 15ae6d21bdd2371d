"""Parked calls go back to who parked them; a place holds one call, whoever comes at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.call.branches import Branch
from gateway.call.call import Call
from gateway.call.features import parked_as
from gateway.call.journal import Journal
from gateway.call.leg import Answered, CalleeLeg, HungUp, Leg, LegName, Rejected, TransferRequested
from gateway.call.record import CallSettings
from gateway.call.registry import Calls
from gateway.call.routing import Caller, FeatureTarget, Route, RouteError, Router, Target, UserTarget
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.call.transfer import Transfers
from gateway.identity.model import User
from gateway.media.engine import Kind
from gateway.testing.leg import FakeLeg
from tests.call.rig import ANSWER, OFFER, Report, Rig, Store
from tests.rows import by_row

TIMEOUT = 60.0


def _free(caller: Caller, target: Target) -> None:
    """Every call is allowed."""


class Place(FakeLeg):
    """A parked call's own leg."""

    def __init__(self, tag: str, place: str) -> None:
        super().__init__(tag, Kind.SERVICE, service="silence")
        self.place = place

    def is_named(self, name: LegName) -> bool:
        return name == parked_as(self.place)

    async def invite(self, sdp: str, caller: object) -> None:
        self.says(Answered(ANSWER))


class World:
    """bob, who is called by anybody and parks at 70x; his phone rings when he is called back."""

    def __init__(self, rig: Rig, *others: Call) -> None:
        self.rig = rig
        self.rung: list[FakeLeg] = []
        self.is_there = self.has_places = True
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        router = self.router = Router(self, [Route("70?", "feature:park"), Route("trunk:*", "user:bob")], [])
        self.transfers = Transfers(rig.engine, router, self, self, [rig.call, *others], rig.timers, _free, TIMEOUT)
        for call in (rig.call, *others):
            call._on_transfer = self.transfers.requested

    def find(self, uri_or_user: str) -> User | None:
        return User(uri_or_user) if uri_or_user == "bob" else None

    def caller_of(self, leg: Leg) -> Caller | None:
        return Caller(leg.identity, ("*",)) if leg.identity is not None else None

    def may_pick_up(self, by: str, of: str) -> bool:
        return False

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        await self.may_go_on.wait()
        if isinstance(target, FeatureTarget):
            return [Place(name, target.argument)] if self.has_places else []
        assert isinstance(target, UserTarget)
        if not self.is_there:
            raise RouteError(Cause.OVERLOADED, "the store is away")
        self.rung.append(FakeLeg(f"bob{len(self.rung)}"))
        return [self.rung[-1]]

    async def parks(self, leg: FakeLeg, place: str = "701", by: str = "bob") -> Report:
        report = Report()
        leg._identity = by
        await self.rig.hears(leg, TransferRequested(place, report))
        await self.rig.settle()
        return report

    async def later(self, seconds: float = TIMEOUT) -> None:
        self.rig.timers.advance(seconds)
        await self.rig.settle()


async def parked() -> World:
    """A call that bob has parked."""
    world = World(await Rig(caller_kind=Kind.RTP).connected())
    assert (await world.parks(world.rig.callee)).told == ["accepted", Cause.NORMAL]
    assert world.rig.callee.told[-1] == ("end", Cause.NORMAL)
    return world


async def test_after_a_while_it_rings_at_who_parked_it() -> None:
    """Not before; who answers there talks with who waited, and that is all."""
    world = await parked()
    await world.later(TIMEOUT - 1)
    assert world.rung == []
    await world.later(1)
    [phone] = world.rung
    assert phone.verbs == ["invite"]
    await world.rig.hears(phone, Answered(ANSWER))
    world.rig.expect(State.CONNECTED)
    assert world.rig.call.legs == (world.rig.caller, phone)
    await world.later(5 * TIMEOUT)
    assert len(world.rung) == 1


async def test_it_rings_again_until_somebody_takes_it() -> None:
    """Busy, nobody there, not answered in time: who waits goes on waiting."""
    world = await parked()
    await world.later()
    await world.rig.hears(world.rung[0], Rejected(Cause.BUSY))
    world.rig.expect(State.CONNECTED)
    world.is_there = False
    await world.later()
    assert len(world.rung) == 1
    world.is_there = True
    await world.later()
    assert len(world.rung) == 2
    await world.later(30)
    assert world.rung[1].told[-1] == ("end", Cause.NO_ANSWER)
    world.rig.expect(State.CONNECTED)
    await world.later()
    await world.rig.hears(world.rung[2], Answered(ANSWER))
    assert world.rig.call.legs == (world.rig.caller, world.rung[2])


@pytest.mark.parametrize("rings", [False, True])
async def test_who_is_taken_back_in_time_rings_nobody(rings: bool) -> None:
    """Nor does what rings already ring on."""
    world = await parked()
    if rings:
        await world.later()
    taker, place = FakeLeg("taker"), world.rig.call.legs[1]
    world.rig.call.take_place(place, taker, OFFER)
    await world.rig.settle()
    assert world.rig.call.legs == (world.rig.caller, taker)
    assert [leg.told[-1] for leg in world.rung] == [("end", Cause.ELSEWHERE)] * rings
    await world.later(5 * TIMEOUT)
    assert len(world.rung) == rings
    world.rig.expect(State.CONNECTED)


@pytest.mark.parametrize("rings", [False, True])
async def test_who_hangs_up_while_waiting_rings_nobody(rings: bool) -> None:
    """The call is over, and its end is told to whoever rings."""
    world = await parked()
    if rings:
        await world.later()
    await world.rig.hears(world.rig.caller, HungUp())
    world.rig.expect(State.ENDED)
    assert [leg.told[-1][0] for leg in world.rung] == ["end"] * rings
    await world.later(5 * TIMEOUT)
    assert len(world.rung) == rings


async def test_what_a_trunk_has_parked_rings_nobody() -> None:
    """A trunk is no phone that could be called back, and its name is no number, whatever the routes make of it."""
    world = World(await Rig(caller_kind=Kind.RTP).connected())
    assert (await world.parks(world.rig.callee, by="trunk:office")).told == ["accepted", Cause.NORMAL]
    await world.later(5 * TIMEOUT)
    assert world.rung == []
    world.rig.expect(State.CONNECTED)


async def test_a_place_that_was_not_reached_is_free() -> None:
    """The store was away; the next one is parked there."""
    world = World(await Rig(caller_kind=Kind.RTP).connected())
    world.is_there = False
    assert (await world.parks(world.rig.callee, "800")).told == [Cause.NOT_FOUND]
    world.has_places = False
    assert (await world.parks(world.rig.callee)).told == [Cause.UNAVAILABLE]
    world.has_places = True
    assert (await world.parks(world.rig.callee)).told == ["accepted", Cause.NORMAL]


async def test_of_two_that_come_at_the_same_moment_one_is_parked() -> None:
    """The second is busy though the first is not there yet; once that has failed the place is free."""
    rig = await Rig(caller_kind=Kind.RTP).connected()
    caller, callee = FakeLeg("caller2"), FakeLeg("callee2")
    other = Call("c2", caller, Branch([callee]), OFFER, dialled="d", engine=rig.engine, timers=rig.timers)
    other.start()
    await rig.settle()
    await rig.hears(callee, Answered(ANSWER))
    world = World(rig, other)
    world.may_go_on.clear()
    first, second = await world.parks(rig.callee), await world.parks(callee)
    assert (first.told, second.told) == ([], [Cause.BUSY])
    third = await world.parks(callee, "702")
    world.may_go_on.set()
    await rig.settle()
    assert first.told == third.told == ["accepted", Cause.NORMAL]


async def test_what_a_trunk_parks_goes_back_to_nobody() -> None:
    """Nor to who had parked it before, in the next process either."""
    world = await parked()
    await world.later()
    [phone] = world.rung
    await world.rig.hears(phone, Answered(ANSWER))
    assert (await world.parks(phone, "702", by="trunk:office")).told == ["accepted", Cause.NORMAL]
    assert world.rig.call.record.parked is None
    await world.later(3 * TIMEOUT)
    assert len(world.rung) == 1


class Next:
    """The process that finds a parked call `dead` seconds after the one before it was killed."""

    def __init__(self, before: World, store: Store, dead: float, timeout: float = TIMEOUT) -> None:
        self.world, self.store = World(Rig()), store
        rig = self.world.rig
        self.calls = Calls(
            rig.engine,
            self.world.router,
            self.world,
            rig.timers,
            settings=CallSettings(park_timeout=timeout, service_max_duration=1.0),
            new_id=lambda: "",
            rights=self.world,
        )
        self.calls.keep = Journal(store, rig.engine, rig.timers.time, lambda: 0.0).write
        [values] = store.kept.values()
        self.legs: tuple[FakeLeg, FakeLeg] = FakeLeg("caller"), Place("c1-1", "701")
        self.values = {
            **values,
            "age": before.rig.timers.time() - before.rig.call.record.started_at + dead,
            "media": {"agreed": [leg.party.tag for leg in self.legs]},
        }

    async def goes_on(self) -> Call:
        await self.world.rig.engine.resume("c1", self.values["media"])
        return self.calls.resume(self.values, self.legs, [])


async def killed(waited: float, dead: float, timeout: float = TIMEOUT) -> Next:
    """After a wait of so long at its place, whose process is dead for so long."""
    world = World(await Rig(caller_kind=Kind.RTP).connected())
    rig, store = world.rig, Store()
    journal = Journal(store, rig.engine, rig.timers.time, lambda: 0.0)
    rig.call._keep = lambda call, changed, ending: journal.write(call, Caller("who", ("*",)), changed, ending)
    rig.timers.advance(5)
    told: list[bool] = []
    leg = world.rig.callee
    leg._identity = "bob"

    class Watched(Report):
        def ended(self, cause: Cause) -> None:
            told.append(any(values.get("parked") for values in store.kept.values()))

    await rig.hears(leg, TransferRequested("701", Watched()))
    await rig.settle()
    assert told == [True], "who parks was told before it was written down"
    await world.later(waited)
    return Next(world, store, dead, timeout)


@by_row(("waited", "dead", "left"), [(10, 20, 30), (10, 200, 2), (70, 1, 2)])
async def test_after_a_kill_it_rings_at_who_parked_it_when_that_is_due(waited: int, dead: int, left: int) -> None:
    """Also where it was due meanwhile, or rang as the gateway died; and again and again as ever."""
    after = await killed(waited, dead)
    call, world = await after.goes_on(), after.world
    await world.later(left - 1)
    assert world.rung == []
    assert call.state is State.CONNECTED
    await world.later(1)
    [phone] = world.rung
    await world.rig.hears(phone, Rejected(Cause.BUSY))
    [values] = after.store.kept.values()
    assert values["parked"]["due"] == values["age"] + TIMEOUT
    await world.later(TIMEOUT)
    await world.rig.hears(world.rung[1], Answered(ANSWER))
    assert call.legs == (after.legs[0], world.rung[1])
    assert (call.state, call.cause) == (State.CONNECTED, Cause.NORMAL)


async def test_who_was_taken_back_before_the_kill_rings_nobody() -> None:
    """The record still says where it was parked."""
    after = await killed(10, 1)
    after.legs = after.legs[0], FakeLeg("taker")
    after.values["media"] = {"agreed": ["caller", "taker"]}
    call = await after.goes_on()
    await after.world.later(5 * TIMEOUT)
    assert (after.world.rung, call.state) == ([], State.CONNECTED)


async def test_nothing_goes_back_any_more_where_that_is_off_by_now() -> None:
    """By a reload while it waits, or the settings of the next process; what rings once more is not tried at once."""
    world = await parked()
    world.is_there = False
    world.transfers.parking.timeout = 0.0
    await world.later()
    world.is_there = True
    after = await killed(10, 1, 0.0)
    await after.goes_on()
    for each in (world, after.world):
        await each.later(5 * TIMEOUT)
        assert each.rung == []
