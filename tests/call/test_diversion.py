"""Calls that go on to somebody else: branches one after the other, and redirections that are followed or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest

from gateway.call.branches import Branch
from gateway.call.branching import Branching, Journey
from gateway.call.leg import Answered, CalleeLeg, Diversion, HungUp, Leg, Redirected, Rejected, Ringing
from gateway.call.routing import Caller, Route, RouteError, Router, ServiceTarget, SipTarget, Target, UserTarget
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.call.trunk_places import TrunkHosts, TrunkPlaces
from gateway.identity.model import User
from gateway.media.engine import MediaError
from gateway.testing.leg import FakeLeg
from tests.call.rig import ANSWER, Rig
from tests.rows import by_row


def following(rig: Rig, *legs: FakeLeg, time: float | None = None) -> None:
    """Have these be asked when the first branch does not take the call."""

    async def then(cause: Cause) -> Branch | None:
        return Branch(list(legs), time=time) if legs else None

    [first] = rig.call.machine._branches  # type: ignore[union-attr]
    first.then = then
    first.time = time


async def test_who_comes_after_those_who_refuse_is_asked_and_may_answer() -> None:
    """The last of the first branch refuses; the caller hears nothing of that."""
    rig, second = Rig(callees=2), FakeLeg("second")
    following(rig, second)
    await rig.started()
    for callee in rig.callees:
        await rig.hears(callee, Rejected(Cause.BUSY))
    assert second.verbs == ["invite"]
    await rig.hears(second, Ringing())
    await rig.hears(second, Answered(ANSWER))
    rig.expect(State.CONNECTED)
    assert rig.call.legs == (rig.caller, second)


async def test_those_whose_time_is_up_are_ended_and_the_next_are_asked() -> None:
    """In turn, each for its own time; the answer of one who was ended comes too late."""
    rig, second = Rig(), FakeLeg("second")
    following(rig, second, time=10)
    await rig.started()
    await rig.hears(rig.callee, Ringing())
    rig.timers.advance(10)
    await rig.settle()
    assert rig.callee.told[-1] == ("end", Cause.NO_ANSWER)
    assert second.verbs == ["invite"]
    await rig.hears(rig.callee, Answered(ANSWER))
    rig.expect(State.RINGING)
    rig.timers.advance(10)
    await rig.settle()
    rig.expect(State.ENDED)
    assert rig.call.cause is Cause.NO_ANSWER
    assert second.told[-1] == ("end", Cause.NO_ANSWER)


async def test_an_answer_stops_the_time_of_its_branch() -> None:
    """Nobody else is asked of a call that is up."""
    rig, second = Rig(), FakeLeg("second")
    following(rig, second, time=10)
    await rig.started()
    await rig.hears(rig.callee, Answered(ANSWER))
    rig.timers.advance(10)
    await rig.settle()
    rig.expect(State.CONNECTED)
    assert second.told == []


async def test_a_caller_who_gives_up_while_the_next_are_looked_for_rings_nobody() -> None:
    """The cancel waits behind the look-up; those who were found are ended unasked."""
    rig, second = Rig(), FakeLeg("second")

    async def then(cause: Cause) -> Branch | None:
        rig.caller.says(HungUp())
        return Branch([second])

    [first] = rig.call.machine._branches  # type: ignore[union-attr]
    first.then = then
    await rig.started()
    await rig.hears(rig.callee, Rejected(Cause.BUSY))
    rig.expect(State.ENDED)
    assert second.told == [("end", Cause.CANCELLED)]


async def test_a_next_callee_that_can_be_offered_nothing_has_refused() -> None:
    """No codec in common with it ends its branch, not the gateway's patience with the caller."""
    rig, second = Rig(), FakeLeg("second")
    following(rig, second)
    await rig.started()
    rig.engine.script("offer", MediaError("no codec", 488))
    await rig.hears(rig.callee, Rejected(Cause.BUSY))
    rig.expect(State.ENDED)
    assert rig.call.cause is Cause.NOT_ACCEPTABLE
    assert second.verbs == ["end"]


@pytest.mark.parametrize("is_over", [True, False])
async def test_whom_a_callee_names_is_asked_beside_those_who_ring_on(is_over: bool) -> None:
    """A 302 of one phone; where all of the leg's phones have gone it is no part of the call any more."""
    elsewhere = FakeLeg("elsewhere")
    asked: list[tuple[str, ...]] = []

    async def redirect(leg: object, event: Redirected) -> Branch | None:
        asked.append(event.targets)
        return Branch([elsewhere], diversions=(Diversion("sip:callee0@example.test", "unconditional"),))

    rig = Rig(on_redirect=redirect)
    await rig.started()
    await rig.hears(rig.callee, Redirected(("sip:2@x",), is_over))
    assert asked == [("sip:2@x",)]
    assert (rig.callee in rig.call.legs) is not is_over
    await rig.hears(elsewhere, Answered(ANSWER))
    rig.expect(State.CONNECTED)
    assert (("end", Cause.ELSEWHERE) in rig.callee.told) is not is_over


@pytest.mark.parametrize("is_over", [True, False])
async def test_a_callee_that_is_asked_for_other_media_is_still_of_its_branch(is_over: bool) -> None:
    """Its time runs on from when it was first asked, and who comes after it is asked when it refuses again."""
    rig, again, second = Rig(), FakeLeg("again"), FakeLeg("second")
    following(rig, second, time=10)
    await rig.started()
    rig.timers.advance(6)
    await rig.hears(rig.callee, Redirected((), is_over, legs=(again,)))
    assert again.verbs == ["invite"]
    assert (rig.callee in rig.call.legs) is not is_over
    await rig.hears(again, Rejected(Cause.BUSY))
    if not is_over:
        assert second.told == []
        await rig.hears(rig.callee, Rejected(Cause.BUSY))
    assert second.verbs == ["invite"]
    await rig.hears(second, Answered(ANSWER))
    rig.expect(State.CONNECTED)


async def test_the_time_of_a_callee_that_is_asked_for_other_media_is_that_of_its_branch() -> None:
    """Counted from when it was first asked."""
    rig, again, second = Rig(), FakeLeg("again"), FakeLeg("second")
    following(rig, second, time=10)
    await rig.started()
    rig.timers.advance(6)
    await rig.hears(rig.callee, Redirected((), is_over=True, legs=(again,)))
    rig.timers.advance(4)
    await rig.settle()
    assert again.told[-1] == ("end", Cause.NO_ANSWER)
    assert second.verbs == ["invite"]


async def test_a_callee_that_can_be_offered_no_other_media_has_refused() -> None:
    """The next of its branch are asked."""
    rig, again, second = Rig(), FakeLeg("again"), FakeLeg("second")
    following(rig, second)
    await rig.started()
    rig.engine.script("offer", MediaError("no codec", 488))
    await rig.hears(rig.callee, Redirected((), is_over=True, legs=(again,)))
    assert again.verbs == ["end"]
    assert second.verbs == ["invite"]


async def test_a_redirection_that_leads_nowhere_is_a_refusal() -> None:
    """As it was before: not reachable."""
    rig = await Rig().started()
    await rig.hears(rig.callee, Redirected(("sip:2@x",), is_over=True))
    rig.expect(State.ENDED)
    assert rig.call.cause is Cause.UNAVAILABLE


class Waiting:
    """A callee whose next phones wait for whom one of its phones has named."""

    def __init__(self, *instead: Branch | None) -> None:
        self.causes: list[Cause] = []
        self.instead = list(instead)
        self.rig = Rig(on_redirect=self.redirect)

    async def redirect(self, leg: object, event: Redirected) -> Branch | None:
        return self.instead.pop(0)

    async def named(self, time: float | None = None) -> Waiting:
        await self.rig.started()
        said = Redirected(("sip:2@x",), is_over=False, then=self.causes.append, time=time)
        await self.rig.hears(self.rig.callee, said)
        return self


async def test_phones_that_wait_for_whom_another_names_are_told_once_when_they_refuse() -> None:
    """Also those who come after them; the caller hears of nothing until the phones have refused."""
    first, second = FakeLeg("first"), FakeLeg("second")

    async def then(cause: Cause) -> Branch | None:
        return Branch([second])

    world = await Waiting(Branch([first], then=then)).named()
    await world.rig.hears(first, Rejected(Cause.BUSY))
    assert (second.verbs, world.causes) == (["invite"], [])
    await world.rig.hears(second, Rejected(Cause.DECLINED))
    assert world.causes == [Cause.DECLINED]
    assert world.rig.callee in world.rig.call.legs
    await world.rig.hears(world.rig.callee, Answered(ANSWER))
    world.rig.expect(State.CONNECTED)


async def test_phones_wait_no_longer_for_whom_another_names_than_for_a_phone() -> None:
    """Each that is asked has that time, or its own where that is shorter."""
    first, second = FakeLeg("first"), FakeLeg("second")

    async def then(cause: Cause) -> Branch | None:
        return Branch([second], time=3)

    world = await Waiting(Branch([first], then=then, time=30)).named(time=5)
    world.rig.timers.advance(5)
    await world.rig.settle()
    assert first.told[-1] == ("end", Cause.NO_ANSWER)
    assert (second.verbs, world.causes) == (["invite"], [])
    world.rig.timers.advance(3)
    await world.rig.settle()
    assert world.causes == [Cause.NO_ANSWER]


async def test_phones_wait_for_those_too_who_are_named_by_whom_another_has_named() -> None:
    """A chain of 3xx is one; where the last leads nowhere, they are asked."""
    first, second, third = FakeLeg("first"), FakeLeg("second"), FakeLeg("third")
    world = await Waiting(Branch([first, third]), Branch([second]), None).named(time=5)
    await world.rig.hears(third, Rejected(Cause.BUSY))
    await world.rig.hears(first, Redirected(("sip:3@x",), is_over=True))
    assert (second.verbs, world.causes) == (["invite"], [])
    world.rig.timers.advance(4)
    await world.rig.hears(second, Redirected(("sip:4@x",), is_over=True))
    assert world.causes == [Cause.UNAVAILABLE]


async def test_phones_wait_for_nobody_where_a_redirection_leads_nowhere() -> None:
    """They are asked at once."""
    world = await Waiting(None).named()
    assert world.causes == [Cause.UNAVAILABLE]
    await world.rig.hears(world.rig.callee, Rejected(Cause.BUSY))
    world.rig.expect(State.ENDED)
    assert world.rig.call.cause is Cause.BUSY


async def test_whom_a_phone_names_and_who_answers_has_the_call() -> None:
    """The phones that waited are asked no more."""
    first = FakeLeg("first")
    world = await Waiting(Branch([first])).named(time=5)
    await world.rig.hears(first, Answered(ANSWER))
    world.rig.expect(State.CONNECTED)
    assert world.rig.callee.told[-1] == ("end", Cause.ELSEWHERE)
    world.rig.timers.advance(5)
    await world.rig.settle()
    world.rig.expect(State.CONNECTED)
    assert world.causes == []


# ---- whom a redirection leads to


class Directory:
    """The users "a" to "e"."""

    def find(self, uri_or_user: str) -> User | None:
        user, _, host = uri_or_user.removeprefix("sip:").partition("@")
        return User(user) if user in "abcde" and host in ("", "gw.test") else None


class Dialer:
    """One leg for everybody, none for "e"; remembers whom it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Target] = []

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        self.asked.append(target)
        return [] if target == UserTarget(User("e")) else [FakeLeg(name or call_id)]


Follow = Callable[..., Awaitable[Branch | None]]


OFFICE = {"office": TrunkHosts(("pbx.test",), (ip_network("192.0.2.0/24"),))}


class Found:
    """What a redirection of the leg of "a" leads to."""

    def __init__(self, may_call: tuple[str, ...] = ("*",), left: int = 5, *, transit: bool = True) -> None:
        self.dialer = Dialer()
        router = Router(Directory(), [Route("600", "service:echo")], ["gw.test"], TrunkPlaces(OFFICE))
        self.dear: set[str] = set()
        """Users who have called such numbers too often."""
        self.by: Caller | None = None
        """The rights of the callee who names others."""
        self.branching = Branching(router, self.dialer, toll=self.toll, payers=self)
        self.journey = Journey("c1", Caller("x", may_call, transit=transit), left, "1001")

    def of_user(self, user: User) -> Caller:
        return Caller(user.id, user.may_call)

    def of_leg(self, leg: Leg) -> Caller | None:
        return self.by

    def toll(self, caller: Caller, target: Target) -> None:
        if caller.id in self.dear:
            raise RouteError(Cause.LINE_FULL, "too often")

    async def first(self) -> Branch:
        return await self.branching.first(UserTarget(User("a")), self.journey)

    async def redirected(self, *targets: str) -> Branch | None:
        return await self.branching.redirected(self.journey, FakeLeg("a"), Redirected(targets, is_over=True))


async def test_a_diversion_counts_for_who_pays_for_it() -> None:
    """The toll brake holds for forwards as for what is dialled."""
    world = Found()
    world.dear.add("x")
    assert await world.redirected("sip:b@gw.test") is None


@by_row(
    ("may_call", "to", "target"),
    [
        (("*",), "sip:b@gw.test", UserTarget(User("b"))),
        (("*",), "sip:600@gw.test", ServiceTarget("echo")),
        (("b",), "sip:c@gw.test", None),
        (("*",), "sip:0123@pbx.test", None),
        (("*", "trunk:office"), "sip:0123@pbx.test", SipTarget("0123", trunk="office")),
        (("*",), "sip:b@elsewhere.test", None),
        (("*", "sip:*@elsewhere.test"), "sip:b@elsewhere.test", SipTarget("sip:b@elsewhere.test")),
        (("*",), "nonsense", None),
        (("*",), "sip:nobody@gw.test", None),
        (("*",), "sip:e@gw.test", None),
    ],
)
async def test_a_redirection_leads_where_the_caller_itself_may_call(
    may_call: tuple[str, ...], to: str, target: Target | None
) -> None:
    """What nobody answers to, what is not allowed, who is not there: it leads nowhere."""
    found = Found(may_call)
    await found.first()
    branch = await found.redirected(to)
    assert (branch is not None) is (target is not None)
    if branch is not None:
        assert found.dialer.asked[-1] == target
        assert branch.diversions == (Diversion("sip:a@example.test", "unconditional"),)


@by_row(
    ("by", "to", "follows"),
    [
        (None, "sip:0123@pbx.test", True),
        (("*",), "sip:0123@pbx.test", False),
        (("*", "0*"), "sip:0123@pbx.test", True),
        (("*", "trunk:office"), "sip:0123@pbx.test", True),
        (("*",), "sip:b@gw.test", True),
        (("c",), "sip:b@gw.test", False),
        (("*", "sip:*@pbx.test"), "sip:b@elsewhere.test", False),
        ((), "sip:b@gw.test", False),
        (("*", "sip:*@192.0.2.7"), "sip:0123@192.0.2.7", False),
        (("*", "trunk:office"), "sip:0123@192.0.2.7", True),
    ],
)
async def test_who_redirects_spends_no_right_of_the_caller_that_it_has_not(
    by: tuple[str, ...] | None, to: str, follows: bool
) -> None:
    """The caller may dial out; a callee that may not sends no call of another's there (RFC 3261 21.3)."""
    found = Found(("*", "trunk:office", "sip:*@elsewhere.test"))
    found.by = None if by is None else Caller("a", by)
    await found.first()
    assert (await found.redirected(to) is not None) is follows


async def test_a_trunks_call_is_not_redirected_out_again() -> None:
    """Whoever may not leave the gateway is not taken out of it by a phone."""
    found = Found(("*", "trunk:*"), transit=False)
    await found.first()
    assert await found.redirected("sip:0123@pbx.test") is None
    assert await found.redirected("sip:b@gw.test") is not None


async def test_a_call_for_one_user_is_redirected_to_another() -> None:
    """A caller by a user's own account reaches that user whatever is dialled, until that user names somebody else."""
    found = Found()
    found.journey.caller = replace(found.journey.caller, calls="a")
    await found.first()
    assert await found.redirected("sip:b@gw.test") is not None
    assert found.dialer.asked[-1] == UserTarget(User("b"))


async def test_several_contacts_are_asked_one_after_the_other() -> None:
    """The next when the one before has refused; those who may not be asked are passed over."""
    found = Found()
    await found.first()
    branch = await found.redirected("sip:b@gw.test", "sip:0123@pbx.test", "sip:c@gw.test")
    assert branch is not None
    assert branch.then is not None
    assert found.dialer.asked[-1] == UserTarget(User("b"))
    following = await branch.then(Cause.BUSY)
    assert following is not None
    assert following.then is not None
    assert found.dialer.asked[-1] == UserTarget(User("c"))
    assert await following.then(Cause.BUSY) is None


async def test_nobody_is_asked_twice_and_the_number_of_diversions_is_limited() -> None:
    """Phones that redirect to each other, and chains without end."""
    found = Found(left=2)
    await found.first()
    assert await found.redirected("sip:a@gw.test") is None
    assert await found.redirected("sip:b@gw.test") is not None
    assert await found.redirected("sip:b@gw.test;x=y") is None
    assert await found.redirected("sip:c@gw.test") is not None
    assert await found.redirected("sip:d@gw.test") is None


async def test_who_is_not_there_cannot_be_called_first() -> None:
    """RouteError, with the cause that the caller hears."""
    found = Found()
    with pytest.raises(RouteError) as refused:
        await found.branching.first(UserTarget(User("e")), found.journey)
    assert refused.value.cause is Cause.UNAVAILABLE
