"""The lease on the calls of a gateway: who knows that it lasts, what is told of those that were taken, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.call.journal import JournalError
from gateway.call.leg import Address
from gateway.call.record import CallRecord
from gateway.failover.lease import Lease, LeaseKeeper, let_go
from gateway.uptime import clock
from tests.rows import by_row


class Time:
    """Turned by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Store:
    """What it says was taken; `is_away`: it does not answer."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.taken: list[str] = []
        self.is_away = False
        self.takes = 0.0
        """Seconds until it answers."""
        self.let_go: set[str] = set()
        self.said: list[tuple[float, bool]] = []

    async def renew(self, seconds: float, let_go: Collection[str], *, is_up: bool) -> frozenset[str]:
        self.time.now += self.takes
        if self.is_away:
            raise JournalError("no connection")
        self.said.append((seconds, is_up))
        self.let_go.update(let_go)
        left = [call_id for call_id in self.taken if call_id not in self.let_go]
        return frozenset(left[:2])


class Rig:
    """A keeper with an interval of 10 s; `answering` says of each other gateway whether it answers."""

    def __init__(self, known: Collection[str] = ()) -> None:
        self.time = Time()
        self.store = Store(self.time)
        self.lease = Lease(self.time, self.time.now + 30)
        self.events: list[object] = []
        self.answering: list[bool] = []
        self.keeper = LeaseKeeper(
            self.lease,
            cast(Any, self.store),
            10.0,
            lambda call_ids: self.events.append(set(call_ids)),
            lambda: self.events.append("sent" if self.lease.is_ours() else "sent all the same"),
            self._others,
            known,
            self.time,
        )

    def _others(self) -> list[Coroutine[Any, Any, bool]]:
        async def answers(is_there: bool) -> bool:
            return is_there

        return [answers(is_there) for is_there in self.answering]


async def test_it_lasts_three_intervals_from_when_it_was_asked_for() -> None:
    """However long the store took to say so."""
    rig = Rig()
    rig.store.takes = 4.0
    await rig.keeper.renew()
    rig.time.now = 129.9
    assert rig.lease.is_ours()
    rig.time.now = 130.0
    assert not rig.lease.is_ours()
    assert rig.store.said == [(30.0, False)]


async def test_all_that_was_taken_is_let_go_before_anything_is_sent() -> None:
    """Few ids at a time, and the store hears of each once it is gone."""
    rig = Rig(["before"])
    rig.time.now += 100
    rig.store.taken = list("abcde")
    await rig.keeper.renew()
    told, last = rig.events[:-1], rig.events[-1]
    assert set().union(*cast("list[set[str]]", told)) == set("abcde")
    assert last == "sent"
    assert rig.store.let_go == {*"abcde", "before"}


async def test_calls_that_could_not_be_let_go_are_told_again() -> None:
    """And the lease is not renewed before."""
    rig = Rig()
    rig.time.now += 100
    rig.store.taken = ["a"]
    fails = True

    def let_go(call_ids: Collection[str]) -> None:
        if fails:
            raise ValueError(call_ids)
        rig.events.append(set(call_ids))

    rig.keeper._let_go = let_go
    with pytest.raises(ValueError, match="a"):
        await rig.keeper.renew()
    assert not rig.lease.is_ours()
    assert rig.store.let_go == set()
    fails = False
    await rig.keeper.renew()
    assert rig.events == [{"a"}, "sent"]
    assert rig.store.let_go == {"a"}


async def test_nothing_is_sent_for_a_moment_only_where_it_has_run_out() -> None:
    """The store may be away for long; what changes calls is refused until it is back."""
    rig = Rig()
    assert not rig.lease.waits()
    rig.time.now += 60
    assert rig.lease.waits()
    rig.time.now += 1.9
    assert rig.lease.waits()
    rig.time.now += 0.2
    assert not rig.lease.waits()
    assert not rig.lease.is_ours()
    await rig.keeper.renew()
    assert rig.lease.is_ours()
    rig.time.now += 60
    assert rig.lease.waits()


async def tick(rig: Rig) -> None:
    """One turn of the keeper."""
    running = asyncio.create_task(rig.keeper.run())
    for _ in range(10):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@by_row(
    ("answering", "is_ours"),
    [([], True), ([True, True], True), ([True, False], False)],
    ids=["alone", "all", "not all"],
)
async def test_while_the_store_is_away_it_lasts_as_long_as_all_others_find_us(
    answering: list[bool], is_ours: bool
) -> None:
    """Nobody takes calls of a gateway that answers."""
    rig = Rig()
    rig.store.is_away, rig.answering = True, answering
    rig.time.now += 20
    await tick(rig)
    rig.time.now += 20
    assert rig.lease.is_ours() is is_ours


async def test_a_gateway_that_cannot_be_asked_does_not_end_the_keeping() -> None:
    """It counts as one that does not answer; once the store is back, the lease is renewed."""
    rig = Rig()

    async def fails() -> bool:
        raise ValueError("no URI")

    rig.keeper._others_answer = lambda: [fails()]
    rig.store.is_away = True
    rig.time.now += 20
    running = asyncio.create_task(rig.keeper.run())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    rig.time.now += 20
    assert not rig.lease.is_ours()


async def test_what_has_run_out_only_the_store_brings_back() -> None:
    """The others may have taken the calls before they answered."""
    rig = Rig()
    rig.store.is_away, rig.answering = True, [True]
    rig.time.now += 40
    await tick(rig)
    assert not rig.lease.is_ours()
    rig.store.is_away = False
    await tick(rig)
    assert rig.lease.is_ours()


async def test_a_gateway_is_up_for_good_after_a_minute() -> None:
    """Then its next start counts as the first."""
    rig = Rig()
    rig.time.now += 59
    await rig.keeper.renew()
    rig.time.now += 2
    await rig.keeper.renew()
    assert [is_up for _, is_up in rig.store.said] == [False, True]


def test_a_lease_is_never_shortened() -> None:
    """What an answer that came late says may be over already."""
    rig = Rig()
    rig.lease.renewed(200.0)
    rig.lease.renewed(150.0)
    rig.time.now = 199.0
    assert rig.lease.is_ours()


async def test_the_store_is_asked_more_often_while_it_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times an interval, and once when it is there."""
    rig, pauses = Rig(), list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        rig.store.is_away = len(pauses) == 1
        if len(pauses) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr("gateway.failover.lease.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await rig.keeper.run()
    assert pauses == [10.0, 2.5, 10.0]


class Leg:
    """One of those SIP Call-IDs."""

    def __init__(self, *names: str) -> None:
        self.references = names


class LeftCall:
    """A call that another gateway has; the names of those who talk, and of those who are asked in a transfer."""

    def __init__(self, legs: list[Leg], targets: list[Leg] | None = None, *, fails: bool = False) -> None:
        self.legs, self.fails, self.left = legs, fails, 0
        self.bridge = targets and SimpleNamespace(transfer=SimpleNamespace(targets=targets))

    def leave(self) -> None:
        if self.fails:
            raise ValueError("a mistake")
        self.left += 1


def test_of_calls_that_others_have_nothing_more_is_said_to_anybody() -> None:
    """Who talks, who is asked in a transfer, and who was in one that has ended here since."""
    talk = LeftCall([Leg("a", "b"), Leg("c")], [Leg("target")])
    odd, plain, own = LeftCall([Leg("odd")], fails=True), LeftCall([Leg("d")]), LeftCall([Leg("own")])
    ended = [
        CallRecord(name, Address("sip:a@x"), "1", 0.0, references={"caller": (f"{name}-1", f"{name}-2")})
        for name in ("ended", "own ended")
    ]
    here = {"talk": talk, "odd": odd, "plain": plain, "own": own}
    calls: Any = SimpleNamespace(get=here.get, ended=ended)
    told: list[set[str]] = []
    agent: Any = SimpleNamespace(leave=told.append)
    order: list[str] = []
    media: Any = SimpleNamespace(leave=lambda call_ids: order.append(f"{len(call_ids)} of {talk.left}"))
    let_go(calls, agent, media, ["odd", "talk", "ended", "plain", "unknown"])
    assert order == ["5 of 0"]  # before any of them ends
    assert told == [{"a", "b", "c", "target", "d", "ended-1", "ended-2"}]
    assert [call.left for call in (talk, plain, own)] == [1, 1, 0]


def test_the_clock_goes_on() -> None:
    """It is no less than it was."""
    assert clock() <= clock()
