"""Forwarding, do not disturb and groups: who is asked, in which order, and on whose bill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.call.branches import Branch
from gateway.call.branching import Branching, Journey
from gateway.call.leg import CalleeLeg, Diversion, Leg, Redirected
from gateway.call.routing import Caller, Group, GroupTarget, Route, RouteError, Router, SipTarget, Target, UserTarget
from gateway.call.rules import MemoryRules, Rules
from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.testing.leg import FakeLeg
from tests.rows import by_row

USERS = {name: User(name, may_call=("*", "0*") if name == "boss" else ("*",)) for name in ("boss", "a", "b", "c")}


class World:
    """Users boss (who may dial out), a, b and c; `away` are not there."""

    def __init__(self, *, left: int = 5, account: str | None = None, **rules: Rules) -> None:
        """`account` is the trunk at which every user has one of their own."""
        self.away: set[str] = set()
        self.asked: list[str] = []
        self.rules = MemoryRules()
        for user, what in rules.items():
            self.rules.put(user, what)
        self.targets: list[Target] = []
        routes = [Route("0*", "trunk:office"), Route("70?", "feature:park")]
        router = Router(self, routes, ["gw.test"], {"office": ("pbx.test",)})
        self._account = account
        self.branching = Branching(router, self, self.rules, payers=self)
        self.journey = Journey("c1", Caller("x", ("*",)), left, "1001")

    def of_user(self, user: User) -> Caller:
        return Caller(user.id, user.may_call, account=self._account)

    def of_leg(self, leg: Leg) -> Caller | None:
        return None

    def find(self, uri_or_user: str) -> User | None:
        return USERS.get(uri_or_user.removeprefix("sip:").partition("@")[0])

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        self.targets.append(target)
        who = target.user.id if isinstance(target, UserTarget) else target.uri if isinstance(target, SipTarget) else ""
        if who in self.away:
            return []
        self.asked.append(who)
        return [FakeLeg(f"{name}-{who}")]

    async def call(self, user: str) -> Branch:
        return await self.branching.first(UserTarget(USERS[user]), self.journey)

    async def after(self, branch: Branch, cause: Cause) -> Branch | None:
        return await branch.then(cause) if branch.then is not None else None


async def test_a_user_who_forwards_always_is_not_asked() -> None:
    """By that user's own rights, and the callee hears who was called."""
    world = World(boss=Rules(always="0123"))
    branch = await world.call("boss")
    assert world.asked == ["0123"]
    assert branch.diversions == (Diversion("sip:boss", "unconditional"),)


async def test_a_forward_goes_out_by_its_users_own_account() -> None:
    """As what that user dials does, whatever the rights here are."""
    world = World(account="office", a=Rules(always="0123"))
    await world.call("a")
    assert world.targets == [SipTarget("0123", trunk="office", account="a")]


async def test_a_call_is_not_diverted_to_a_feature() -> None:
    """A number that parks or picks up is for who dials it: the user's own phones ring, and a 302 leads nowhere."""
    world = World(a=Rules(always="701"))
    branch = await world.call("a")
    assert world.asked == ["a"]
    redirected = Redirected(("sip:701@gw.test",), is_over=True)
    assert await world.branching.redirected(world.journey, branch.legs[0], redirected) is None
    assert world.asked == ["a"]


async def test_a_forward_that_its_user_could_not_dial_is_none() -> None:
    """Whatever was kept: rights may have been taken since."""
    world = World(a=Rules(always="0123"))
    await world.call("a")
    assert world.asked == ["a"]


@by_row(
    ("cause", "asked", "reason"),
    [
        (Cause.BUSY, "b", "user-busy"),
        (Cause.NO_ANSWER, "c", "no-answer"),
        (Cause.UNAVAILABLE, "c", "unavailable"),
        (Cause.UNREACHABLE, "c", "unavailable"),
        (Cause.OVERLOADED, "c", "unavailable"),
        (Cause.LOST, "c", "unavailable"),
        (Cause.MEDIA_FAILED, "c", "unavailable"),
        (Cause.DECLINED, None, ""),
    ],
)
async def test_busy_and_no_answer_go_where_they_are_forwarded_to(cause: Cause, asked: str | None, reason: str) -> None:
    """A person who declines has said what they want."""
    world = World(a=Rules(busy="b", no_answer="c", after=7))
    branch = await world.call("a")
    assert (world.asked, branch.time) == (["a"], 7)
    following = await world.after(branch, cause)
    assert world.asked[1:] == ([asked] if asked else [])
    if following is not None:
        assert following.diversions == (Diversion("sip:a", reason),)


async def test_who_is_not_there_is_forwarded_at_once() -> None:
    """As nobody answers; without a forward the caller hears that nobody is there."""
    world = World(a=Rules(no_answer="b"))
    world.away = {"a", "c"}
    branch = await world.call("a")
    assert branch.diversions == (Diversion("sip:a", "unavailable"),)
    with pytest.raises(RouteError) as refused:
        await World.call(world, "c")
    assert refused.value.cause is Cause.UNAVAILABLE


async def test_who_is_not_to_be_disturbed_is_busy() -> None:
    """And is forwarded as busy, where that is set."""
    world = World(a=Rules(do_not_disturb=True), b=Rules(do_not_disturb=True, busy="c"))
    with pytest.raises(RouteError) as refused:
        await world.call("a")
    assert refused.value.cause is Cause.BUSY
    branch = await world.call("b")
    assert world.asked == ["c"]
    assert branch.diversions == (Diversion("sip:b", "do-not-disturb"),)


async def test_forwards_to_each_other_end() -> None:
    """Nobody is asked twice; the last who is left rings."""
    world = World(a=Rules(always="b"), b=Rules(always="c"), c=Rules(always="a"))
    branch = await world.call("a")
    assert world.asked == ["c"]
    assert [one.uri for one in branch.diversions] == ["sip:b", "sip:a"]


async def test_forwards_are_limited() -> None:
    """sip.max_diversions."""
    world = World(left=1, a=Rules(always="b"), b=Rules(always="c"))
    await world.call("a")
    assert world.asked == ["b"]


# ---- groups


def group(world: World, *members: str, in_turn: bool = False) -> GroupTarget:
    return GroupTarget(Group("sales", tuple(USERS[member] for member in members), in_turn=in_turn, time=9))


async def test_a_group_rings_at_once_with_a_leg_of_each_who_is_there() -> None:
    """Who is away or not to be disturbed is left out; members' forwards do not count."""
    world = World(b=Rules(do_not_disturb=True), c=Rules(always="boss"))
    branch = await world.branching.first(group(world, "a", "b", "c"), world.journey)
    assert world.asked == ["a", "c"]
    assert len({leg.party.tag for leg in branch.legs}) == 2
    assert branch.time == 9


async def test_a_group_in_turn_asks_the_next_whatever_became_of_the_one_before() -> None:
    """Each for its time."""
    world = World()
    world.away = {"b"}
    branch: Branch | None = await world.branching.first(group(world, "a", "b", "c", in_turn=True), world.journey)
    assert branch is not None
    branch = await world.after(branch, Cause.BUSY)
    assert branch is not None
    assert (world.asked, branch.time) == (["a", "c"], 9)
    assert await world.after(branch, Cause.DECLINED) is None


@pytest.mark.parametrize("in_turn", [True, False])
async def test_a_group_of_whom_nobody_is_there_is_unavailable(in_turn: bool) -> None:
    """480."""
    world = World()
    world.away = {"a", "b"}
    with pytest.raises(RouteError) as refused:
        await world.branching.first(group(world, "a", "b", in_turn=in_turn), world.journey)
    assert refused.value.cause is Cause.UNAVAILABLE


class Talks:
    """A call as far as it matters who is in it."""

    def __init__(self, *users: str) -> None:
        self.legs = []
        for user in users:
            leg = FakeLeg(user)
            leg._identity = user
            self.legs.append(leg)


@pytest.mark.parametrize(("waiting", "busy"), [(True, False), (False, True)])
async def test_a_second_call_rings_or_is_busy_as_its_user_wants(
    waiting: bool, busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """users[].call_waiting; while there is no other call it rings, and a busy one goes on as others do."""
    monkeypatch.setitem(USERS, "a", replace(USERS["a"], call_waiting=waiting))
    world = World(a=Rules(busy="b"))
    world.branching._calls = calls = []
    await world.call("a")
    assert world.asked == ["a"]
    calls.append(Talks("c", "a"))
    world.asked.clear()
    await world.call("a")
    assert world.asked == (["b"] if busy else ["a"])


async def test_a_member_that_has_a_call_is_left_out_of_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others ring; where nobody is left the group is not there."""
    monkeypatch.setitem(USERS, "a", replace(USERS["a"], call_waiting=False))
    world = World()
    world.branching._calls = [Talks("a")]  # type: ignore[list-item]
    group = Group("desk", (USERS["a"], USERS["b"]))
    await world.branching.first(GroupTarget(group), world.journey)
    assert world.asked == ["b"]


async def test_who_calls_oneself_is_not_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the page to the own desk phone."""
    monkeypatch.setitem(USERS, "a", replace(USERS["a"], call_waiting=False))
    world = World()
    world.journey.caller = Caller("a", ("*",))
    world.branching._calls = [Talks("a")]  # type: ignore[list-item]
    await world.call("a")
    assert world.asked == ["a"]
