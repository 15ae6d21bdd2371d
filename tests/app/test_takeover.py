"""Whose calls are taken over: those of a gateway that nobody sees and that does not answer, once and whole."""

from __future__ import annotations

import asyncio
import marshal
from collections.abc import Container, Iterable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.call.journal import VERSION, JournalError
from gateway.failover.lease import Lease
from gateway.failover.takeover import Takeovers, answers, go_on
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from tests.net.peers import LOOPBACK, Application

ONE, TWO, THREE = "one", "two", "three"


def record(call_id: str) -> bytes:
    return VERSION + marshal.dumps({"id": call_id, "legs": [], "targets": []})


class Journal:
    """What others have left, and what was taken of it."""

    def __init__(self) -> None:
        self.left: dict[str, dict[str, bytes]] = {}
        self.ours: dict[str, bytes] = {}
        self.legs: dict[str, str] = {}
        self.is_away = False
        self.loses_answer = False
        self.words = 0
        self.fails_at: Container[int] = ()
        """Of the words with it, from 1 on, those that have no answer."""
        self.leased: set[str] = set()
        self.looks = 0
        self.read: dict[str, int] = {}

    async def nodes(self) -> frozenset[str]:
        self.looks += 1
        self._answer()
        return frozenset(self.left)

    async def take(self, node: str) -> int:
        self._answer()
        if node in self.leased:
            return 0
        some = dict(list(self.left[node].items())[:30])
        self.left[node] = {call_id: record for call_id, record in self.left[node].items() if call_id not in some}
        self.ours |= some
        if self.loses_answer:
            self.loses_answer = False
            raise JournalError("no answer")
        return len(some)

    async def claimed(self) -> frozenset[str]:
        self._answer()
        return frozenset(self.ours)

    async def records(self, call_ids: list[str]) -> dict[str, tuple[bytes, int]]:
        for call_id in call_ids:
            self.read[call_id] = self.read.get(call_id, 0) + 1
        self._answer()
        return {call_id: (self.ours[call_id], self.read[call_id]) for call_id in call_ids}

    async def node_of(self, tag: str) -> str | None:
        self._answer()
        return self.legs.get(tag)

    def _answer(self) -> None:
        self.words += 1
        if self.is_away or self.words in self.fails_at:
            raise JournalError("no connection")


class Cluster:
    """The others, as one of them sees it."""

    node = ONE

    def __init__(self) -> None:
        self.with_calls: set[str] = set()
        self.is_open = True

    async def opened(self) -> None:
        return


class Recovery:
    """What was gone on with, and which calls a page may ask for."""

    def __init__(self) -> None:
        self.went_on: list[str] = []
        self.ours: list[str] = []
        self.odd = ""
        self.largest = 0
        self.forgotten: list[str] = []
        self.kept_again = 0
        self.left = self

    async def take_over(self, calls: dict[str, Any]) -> dict[str, list[str]]:
        if self.odd in calls:
            raise ValueError(self.odd)
        self.went_on += calls
        self.largest = max(self.largest, len(calls))
        return {call_id: ["trunk"] for call_id in calls}

    def taken(self, call_ids: Iterable[str]) -> None:
        self.ours += call_ids

    async def keep_again(self) -> None:
        self.kept_again += 1

    def forget(self, call_id: str) -> None:
        self.forgotten.append(call_id)

    def of(self, user: str, tag: str) -> object | None:
        return object() if (user, tag) == ("alice", "leg") and self.went_on else None


class Rig:
    """Takeovers among fakes; `answering` are the gateways that answer an OPTIONS."""

    def __init__(self) -> None:
        self.cluster, self.journal, self.recovery = Cluster(), Journal(), Recovery()
        self.answering: set[str] = set()
        self.trunks: dict[str, list[str]] = {}
        cluster, journal, recovery, dialer = cast(Any, (self.cluster, self.journal, self.recovery, self))
        self.takeovers = Takeovers(cluster, journal, recovery, dialer, self.answers)

    async def answers(self, node: str) -> bool:
        return node in self.answering

    def resumed(self, trunks: dict[str, list[str]]) -> None:
        """As the dialer is told."""
        self.trunks |= trunks


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_only_who_is_gone_and_silent_is_taken_over(rig: Rig) -> None:
    """One that others see, one that answers though nobody sees it, and we ourselves keep their calls."""
    rig.journal.left = {ONE: {"a": record("a")}, TWO: {"b": record("b")}, THREE: {"c": record("c")}}
    rig.cluster.with_calls, rig.answering = {TWO}, {THREE}
    await rig.takeovers.look()
    assert rig.recovery.went_on == []
    rig.answering = set()
    await rig.takeovers.look()
    assert rig.recovery.went_on == ["c"]
    rig.cluster.with_calls = set()
    await rig.takeovers.look()
    await rig.takeovers.look()
    assert rig.recovery.went_on == ["c", "b"]
    assert rig.journal.left[ONE].keys() == {"a"}


async def test_one_that_comes_back_while_it_is_asked_keeps_its_calls(rig: Rig) -> None:
    """It answers no OPTIONS yet, but the others see it again before anything is taken."""

    async def asked(node: str) -> bool:
        rig.cluster.with_calls.add(node)
        return False

    cluster, journal, recovery, dialer = cast(Any, (rig.cluster, rig.journal, rig.recovery, rig))
    rig.journal.left = {TWO: {"b": record("b")}}
    await Takeovers(cluster, journal, recovery, dialer, asked).look()
    assert rig.recovery.went_on == []
    assert rig.journal.left[TWO].keys() == {"b"}


async def test_a_journal_that_knows_nothing_of_us_is_told_again(rig: Rig) -> None:
    """Once a look, and no more when it knows."""
    await rig.takeovers.look()
    await rig.takeovers.look()
    rig.journal.left = {ONE: {"a": record("a")}}
    await rig.takeovers.look()
    assert rig.recovery.kept_again == 2


async def test_of_many_calls_few_are_taken_up_in_one_go(rig: Rig) -> None:
    """And one that cannot be read costs no other."""
    rig.journal.left = {TWO: {str(number): record(str(number)) for number in range(50)} | {"odd": b"no record"}}
    await rig.takeovers.look()
    assert len(rig.recovery.went_on) == len(rig.trunks) == 50
    assert rig.recovery.largest <= 20
    assert rig.recovery.forgotten == ["odd"]


async def test_calls_that_fail_cost_no_others_and_others_have_their_turn(rig: Rig) -> None:
    """Whatever the mistake in some of them is."""
    rig.journal.left = {TWO: {str(number): record(str(number)) for number in range(50)}}
    rig.recovery.odd = "12"
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await asyncio.sleep(0)
    await rig.takeovers.look()
    beside.cancel()
    names = sorted(str(number) for number in range(50))
    assert rig.recovery.went_on == names[20:]
    assert rig.recovery.ours == names
    assert turns > 3


async def test_calls_whose_taking_had_no_answer_are_gone_on_with_at_the_next_look(rig: Rig) -> None:
    """They are ours, for the store has moved them; nobody else would go on with them."""
    rig.journal.left, rig.journal.loses_answer = {TWO: {"b": record("b")}}, True
    with pytest.raises(JournalError):
        await rig.takeovers.look()
    assert rig.journal.left == {TWO: {}}
    await rig.takeovers.look()
    assert rig.recovery.went_on == ["b"]
    await rig.takeovers.look()
    assert rig.recovery.went_on == ["b"]


@pytest.mark.parametrize("loses_answer", [False, True])
@pytest.mark.parametrize("word", range(1, 10))
async def test_a_store_that_goes_twice_in_a_row_while_calls_are_taken_costs_none(
    rig: Rig, word: int, loses_answer: bool
) -> None:
    """Whenever it goes: each call is gone on with, once."""
    rig.journal.left = {TWO: {str(number): record(str(number)) for number in range(50)}}
    rig.journal.fails_at, rig.journal.loses_answer = range(word, word + 2), loses_answer
    failed = 0
    for _ in range(6):
        try:
            await rig.takeovers.look()
        except JournalError:
            failed += 1
    assert failed >= 2
    assert sorted(rig.recovery.went_on, key=int) == [str(number) for number in range(50)]
    assert rig.recovery.forgotten == []


async def test_calls_that_the_process_before_had_taken_are_gone_on_with(rig: Rig) -> None:
    """It died before it had written them down; nobody need be gone for that."""
    rig.journal.ours = {"b": record("b")}
    await rig.takeovers.look()
    assert rig.recovery.went_on == rig.recovery.ours == ["b"]


async def test_a_call_that_went_to_another_and_comes_back_is_gone_on_with_again(rig: Rig) -> None:
    """However often: what was seen of it before is past once it is not ours any more."""
    for _ in range(3):
        rig.journal.left = {TWO: {"b": record("b")}}
        await rig.takeovers.look()
        rig.journal.ours.clear()  # another gateway has taken it
        await rig.takeovers.look()
    assert rig.recovery.went_on == ["b"] * 3


async def test_calls_under_a_lease_are_left_alone(rig: Rig) -> None:
    """Whoever has it may only be out of everybody's sight."""
    rig.journal.left, rig.journal.leased = {TWO: {"b": record("b")}}, {TWO}
    await rig.takeovers.look()
    assert rig.recovery.went_on == []
    rig.journal.leased.clear()
    await rig.takeovers.look()
    assert rig.recovery.went_on == ["b"]


async def test_a_gateway_that_takes_no_new_calls_answers_all_the_same() -> None:
    """It keeps those that it has; one that is gone does not answer."""
    there, agent = [UserAgent(UserAgentConfig(listen=LOOPBACK), Application()) for _ in range(2)]
    await there.start()
    await agent.start()
    _, host, port = there.listening[0]
    try:
        assert await answers(agent, f"sip:{host}:{port}")
        there.drain(30)
        assert await answers(agent, f"sip:{host}:{port}")
        await there.close()
        assert not await answers(agent, f"sip:{host}:{port}")
    finally:
        await there.close()
        await agent.close()


async def test_it_goes_on_looking_when_the_journal_was_away(rig: Rig) -> None:
    """Until the others see us no more."""
    rig.journal.is_away, rig.journal.left = True, {TWO: {"b": record("b")}}
    running = asyncio.create_task(rig.takeovers.run(0.005))
    async with asyncio.timeout(30):
        while rig.journal.looks < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    rig.journal.is_away = False
    async with asyncio.timeout(30):
        while not rig.recovery.went_on:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    rig.cluster.is_open = False
    await asyncio.wait_for(running, 30)


async def test_a_page_waits_for_its_call(rig: Rig) -> None:
    """As long as some gateway has it; for one that nobody has, or another user's, no longer than it may."""
    takeovers = rig.takeovers
    assert not await asyncio.wait_for(takeovers.to_come("alice", "leg", 600), 30)
    rig.journal.legs = {"leg": TWO}
    assert not await takeovers.to_come("alice", "leg", 0.01)
    waiting = asyncio.create_task(takeovers.to_come("alice", "leg", 60))
    other = asyncio.create_task(takeovers.to_come("bob", "leg", 0.05))
    await asyncio.sleep(0)
    rig.journal.left = {TWO: {"b": record("b")}}
    await takeovers.look()
    assert await asyncio.wait_for(waiting, 30)
    assert not await other
    assert await takeovers.to_come("alice", "leg", 60)
    rig.journal.is_away = True
    assert not await takeovers.to_come("bob", "leg", 60)


async def test_media_that_others_have_waits_as_long_as_messages_do(rig: Rig) -> None:
    """Until the store has said whose the calls are; those that are others' are left there first, and at the end all
    that waited is told to go on.
    """
    told: list[object] = []
    taken = [frozenset({"a"}), frozenset[str]()]

    async def renew(seconds: float, let_go: Iterable[str], *, is_up: bool) -> frozenset[str]:
        return taken.pop(0) if taken else frozenset()

    async def end_rest() -> dict[str, list[str]]:
        return {}

    media: Any = SimpleNamespace(waits=None, go_on=lambda: told.append(media.waits()), leave=told.append)
    now, lost = [10.0], SimpleNamespace(get=lambda call_id: None, ended=())
    lease = Lease(lambda: now[0], 5.0)
    recovery, journal = cast(Any, rig.recovery), cast(Any, rig.journal)
    journal.renew, recovery.end_rest, recovery.gone, recovery.calls = renew, end_rest, frozenset(), lost
    recovery.shared, recovery.lease, recovery.engine = journal, lease, SimpleNamespace(handover=media)
    agent = SimpleNamespace(share=lambda is_ours, waits: lambda: told.append("messages"), leave=lambda names: None)
    config = SimpleNamespace(cluster=SimpleNamespace(interval=60.0), limits=SimpleNamespace(reattach_time=1.0))
    async with AsyncExitStack() as stack:
        opening = SimpleNamespace(config=config, stack=stack)
        await go_on(*cast(Any, (opening, recovery, rig.cluster, agent, rig)))
        assert media.waits()
        async with asyncio.timeout(10):
            while len(told) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert told == [{"a"}, "messages", False]
        told.clear()
    assert told == ["messages", False]
