"""What a caller hears of a call that has failed, before it is told so: early media, then the refusal."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gateway.call.branches import Branch
from gateway.call.leg import Answered, CalleeLeg, CallerLeg, HungUp, Rejected, Ringing
from gateway.call.limits import CallLimits
from gateway.call.registry import Calls
from gateway.call.routing import Caller, RouteError, Router
from gateway.call.state import Input, State
from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.legs.announcement import AnnouncementLeg
from gateway.media.engine import AudioPort, Kind, MediaError
from gateway.testing.engine import FakeEngine
from gateway.testing.leg import FakeLeg
from gateway.testing.timers import ManualTimers
from tests.call.rig import ANSWER, OFFER, Rig
from tests.rows import by_row

SOUND = bytes(2 * 16_000)
"""A second of it."""


class Port:
    """The engine's port of a program: it says nothing until `ends`."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, int]] = []
        self.ends: Any = None

    def say(self, pcm: bytes, rate: int) -> None:
        self.heard.append((pcm, rate))

    def on_said(self, said: Any) -> None:
        self.ends = said


class Stage(Rig):
    """A call of which failures are announced."""

    def __init__(self, callees: int = 1, caller_kind: Kind = Kind.RTP, **options: Any) -> None:
        self.asked: list[Cause] = []
        self.over = 0
        self.port = Port()
        self.cannot: MediaError | None = None
        super().__init__(callees, caller_kind, announce=self.announce, **options)

    def announce(self, cause: Cause) -> AnnouncementLeg:
        self.asked.append(cause)
        return AnnouncementLeg(
            "c1-announcement", cause, SOUND, 16_000, audio=self.audio, timers=self.timers, on_end=self.ended
        )

    def audio(self, tag: str) -> AudioPort:
        assert tag == "c1-announcement"
        if self.cannot is not None:
            raise self.cannot
        return cast(AudioPort, self.port)

    def ended(self) -> None:
        self.over += 1

    async def refused(self) -> Stage:
        """The only callee is busy."""
        await self.started()
        await self.hears(self.callee, Rejected(Cause.BUSY))
        return self

    async def said(self) -> None:
        """The announcement has been said to its end."""
        self.port.ends()
        await self.settle()

    def told_caller(self) -> list[tuple[str, object]]:
        return self.caller.told


@pytest.mark.parametrize("rings", [False, True])
async def test_a_caller_hears_why_and_then_is_told(rings: bool) -> None:
    """Early media, to its end; then the status of the cause, once."""
    stage = await Stage().started()
    if rings:
        await stage.hears(stage.callee, Ringing())
    await stage.hears(stage.callee, Rejected(Cause.BUSY))
    stage.expect(State.EARLY)
    assert stage.engine.joined("c1", "caller") == "c1-announcement"
    assert stage.port.heard == [(SOUND, 16_000)]
    early = stage.told_caller()[-1]
    assert early[0] == "ring"
    assert isinstance(early[1], str)
    await stage.said()
    await stage.said()
    assert [each for each in stage.told_caller() if each[0] == "end"] == [("end", Cause.BUSY)]
    stage.expect(State.ENDED)
    assert stage.asked == [Cause.BUSY]
    assert (stage.over, stage.engine.calls, stage.timers.pending) == (1, frozenset(), 0)


@pytest.mark.parametrize("kind", [Kind.RTP, Kind.WEBRTC])
async def test_a_call_that_nobody_can_be_asked_to_take_is_announced(kind: Kind) -> None:
    """As one to no such number: a page has no early answer before that."""
    stage = Stage(0, kind)
    await stage.started()
    stage.expect(State.EARLY)
    assert [verb for verb, _ in stage.told_caller()] == ["ring"]
    await stage.said()
    assert stage.told_caller()[-1] == ("end", Cause.BUSY)


async def test_a_call_that_nobody_can_be_asked_to_take_fails_where_nothing_is_said() -> None:
    """Of its cause, with no word to the engine."""
    rig = await Rig(0).started()
    assert rig.caller.told == [("end", Cause.BUSY)]
    assert "offer" not in rig.engine.verbs("c1")


async def test_a_page_that_has_an_answer_hears_it_by_that() -> None:
    """It is joined to what is said."""
    stage = Stage(caller_kind=Kind.WEBRTC)
    await stage.refused()
    assert [verb for verb, _ in stage.told_caller()] == ["early_answer", "ring"]
    assert stage.engine.joined("c1", "caller") == "c1-announcement"


async def test_the_most_telling_refusal_of_several_is_announced_once_all_have_refused() -> None:
    """As the caller would be told without."""
    stage = await Stage(2).started()
    await stage.hears(stage.callees[0], Rejected(Cause.UNAVAILABLE))
    assert not stage.asked
    await stage.hears(stage.callees[1], Rejected(Cause.BUSY))
    await stage.said()
    assert stage.asked == [Cause.BUSY]
    assert stage.told_caller()[-1] == ("end", Cause.BUSY)


async def test_nobody_answers_in_time() -> None:
    """Who rings is asked no more; the caller hears why, however long that takes."""
    stage = await Stage().started()
    await stage.hears(stage.callee, Ringing())
    stage.timers.advance(30.1)
    await stage.settle()
    assert stage.callee.told[-1] == ("end", Cause.NO_ANSWER)
    assert stage.asked == [Cause.NO_ANSWER]
    stage.expect(State.EARLY)
    stage.callee.says(Answered(ANSWER))
    await stage.settle()
    stage.expect(State.EARLY)
    await stage.said()
    assert stage.told_caller()[-1] == ("end", Cause.NO_ANSWER)


async def test_the_time_of_the_call_runs_out_while_it_is_announced() -> None:
    """It is heard to its end, and the cause is the one before."""
    stage = await Stage().started()
    stage.timers.advance(29.9)
    await stage.hears(stage.callee, Rejected(Cause.DECLINED))
    stage.timers.advance(0.2)
    await stage.settle()
    stage.expect(State.EARLY)
    assert any(step.input is Input.RING_TIMEOUT for step in stage.call.history)
    await stage.said()
    assert stage.told_caller()[-1] == ("end", Cause.DECLINED)
    assert stage.asked == [Cause.DECLINED]


async def test_media_that_never_comes_up_ends_it() -> None:
    """Five seconds after it should have been said."""
    stage = await Stage().refused()
    stage.timers.advance(5.9)
    await stage.settle()
    stage.expect(State.EARLY)
    stage.timers.advance(0.2)
    await stage.settle()
    assert stage.told_caller()[-1] == ("end", Cause.BUSY)
    await stage.said()
    assert stage.over == 1


@pytest.mark.parametrize("early", [False, True])
async def test_a_caller_gives_up_while_it_is_announced(early: bool) -> None:
    """CANCEL, also one that comes with the refusal, which then is not announced; nothing is left."""
    stage = await Stage().started()
    stage.callee.says(Rejected(Cause.BUSY))
    if not early:
        await stage.settle()
    await stage.hears(stage.caller, HungUp())
    stage.expect(State.ENDED)
    assert stage.call.cause is (Cause.BUSY if early else Cause.CANCELLED)
    assert (stage.over, stage.engine.calls, stage.timers.pending) == (len(stage.asked), frozenset(), 0)
    if stage.port.ends is not None:
        await stage.said()
    assert stage.over == len(stage.asked)


async def test_who_made_no_offer_or_has_heard_the_callee_hears_no_announcement() -> None:
    """The one cannot be given early media, the other has it from there."""
    for stage in (Stage(offer=None), Stage()):
        await stage.started()
        if stage.callee.told[0] == ("invite", OFFER) or stage.engine.verbs("c1")[0] == "offer":
            await stage.hears(stage.callee, Ringing(ANSWER))
            stage.expect(State.EARLY)
        await stage.hears(stage.callee, Rejected(Cause.BUSY))
        assert stage.told_caller()[-1] == ("end", Cause.BUSY)
        assert not stage.asked


@by_row("verb", ["offer", "answer", "audio", "say"])
async def test_what_the_engine_cannot_say_changes_nothing_of_the_cause(verb: str) -> None:
    """The caller is told at once what it would have been told else."""
    stage = await Stage().started()
    refused = MediaError("nothing in common", 488)
    if verb == "audio":
        stage.cannot = refused
    elif verb == "say":
        stage.port.say = lambda pcm, rate: (_ for _ in ()).throw(refused)  # type: ignore[method-assign]
    else:
        stage.engine.script(verb, refused)
    await stage.hears(stage.callee, Rejected(Cause.NO_ANSWER))
    assert stage.told_caller()[-1] == ("end", Cause.NO_ANSWER)
    stage.expect(State.ENDED)
    assert (stage.over, stage.timers.pending) == (1, 0)


class House:
    """Calls of which nobody takes one."""

    def __init__(self, limits: CallLimits | None = None) -> None:
        nobody: Any = self
        self.engine, self.timers, self.port = FakeEngine(), ManualTimers(), Port()
        self.told: list[tuple[Cause, CallerLeg]] = []
        self.causes = {Cause.NOT_FOUND}
        self.calls = Calls(
            self.engine, Router(nobody, [], [], {}), nobody, self.timers, limits=limits, new_id=lambda: "c"
        )
        self.calls.announcer = self

    def find(self, _: str) -> None:
        return None

    def announces(self, cause: Cause, caller: CallerLeg) -> bool:
        return cause in self.causes

    def leg(self, cause: Cause, caller: CallerLeg, call_id: str) -> AnnouncementLeg | None:
        self.told.append((cause, caller))
        port: Any = self.port
        return AnnouncementLeg(
            call_id + "-a", cause, SOUND, 16_000, audio=lambda tag: port, timers=self.timers, on_end=lambda: None
        )


async def test_a_number_that_nobody_has_is_announced_in_a_call_that_counts() -> None:
    """It has its place among the calls, and its record."""
    house, leg = House(), FakeLeg("caller")
    call = await house.calls.place(leg, Caller("bob", ("*",)), "999", OFFER)
    await Rig.settle(None)  # type: ignore[arg-type]
    assert house.told == [(Cause.NOT_FOUND, leg)]
    assert (len(house.calls), house.calls.of("bob"), call.state) == (1, 1, State.EARLY)
    house.port.ends()
    await Rig.settle(None)  # type: ignore[arg-type]
    assert leg.told[-1] == ("end", Cause.NOT_FOUND)
    assert (len(house.calls), house.calls.of("bob")) == (0, 0)
    assert [record.cause for record in house.calls.ended] == [Cause.NOT_FOUND]


async def test_a_call_that_was_let_in_and_is_announced_counts_once_among_the_new_ones() -> None:
    """Nobody is reached there at the moment; with one new call a second its caller hears so."""
    house = House(CallLimits(calls_per_second=1))
    house.causes = {Cause.UNAVAILABLE}
    house.find = lambda _: User(id="x")  # type: ignore[method-assign, assignment]

    async def legs(*_: object) -> list[CalleeLeg]:
        return []

    house.legs = legs  # type: ignore[attr-defined]
    call = await house.calls.place(FakeLeg("caller"), Caller("bob", ("*",)), "x", OFFER)
    await Rig.settle(None)  # type: ignore[arg-type]
    assert ([cause for cause, _ in house.told], call.state) == ([Cause.UNAVAILABLE], State.EARLY)
    house.port.ends()
    await Rig.settle(None)  # type: ignore[arg-type]
    assert house.calls.of("bob") == 0
    house.timers.advance(0.5)
    with pytest.raises(RouteError) as refused:
        await house.calls.place(FakeLeg("caller"), Caller("bob", ("*",)), "x", OFFER)
    assert refused.value.cause is Cause.LIMIT


@by_row("why", ["cause", "offer", "announcer", "draining", "full"])
async def test_a_call_is_refused_at_once_where_nothing_can_be_said(why: str) -> None:
    """Of another cause, to who made no offer, while the gateway drains, beyond its limits."""
    house, leg = House(CallLimits(max_calls=0) if why == "full" else None), FakeLeg("caller")
    if why == "cause":
        house.causes.clear()
    elif why == "announcer":
        house.calls.announcer = None
    elif why == "draining":
        await house.calls.drain(1.0)
    with pytest.raises(RouteError) as refused:
        await house.calls.place(leg, Caller("bob", ("*",)), "999", None if why == "offer" else OFFER)
    assert refused.value.cause is Cause.NOT_FOUND
    assert (leg.told, len(house.calls), house.calls.of("bob")) == ([], 0, 0)
    assert house.calls.refused[Cause.NOT_FOUND] == 1


async def test_a_branch_that_is_asked_later_comes_before_the_announcement() -> None:
    """Who forwards when busy: nothing is announced where that one answers."""
    stage = Stage()
    second = FakeLeg("second")

    async def then(cause: Cause) -> Branch:
        return Branch([second])

    stage.call.machine._branches[0].then = then  # type: ignore[union-attr]
    await stage.refused()
    assert not stage.asked
    await stage.hears(second, Answered(ANSWER))
    stage.expect(State.CONNECTED)
    assert not stage.asked


async def test_a_ring_timeout_while_the_engine_makes_the_offer_ends_nothing_and_hangs_nothing() -> None:
    """Who is being told why is told to the end."""
    stage = await Stage().started()
    await stage.hears(stage.callee, Ringing())
    offer, gate = stage.engine.offer, asyncio.Event()

    async def slow(*arguments: Any) -> str:
        await gate.wait()
        return await offer(*arguments)

    stage.engine.offer = slow  # type: ignore[method-assign, assignment]
    await stage.hears(stage.callee, Rejected(Cause.BUSY))
    stage.timers.advance(10_000)
    await stage.settle()
    gate.set()
    await stage.settle()
    stage.expect(State.EARLY)
    await stage.said()
    assert stage.told_caller()[-1] == ("end", Cause.BUSY)
    stage.expect(State.ENDED)
    assert stage.timers.pending == 0
