"""Whose calls are taken over: those of a gateway that nobody sees and that does not answer, once and whole."""

from __future__ import annotations

import asyncio
import marshal
from typing import Any, cast

import pytest

from gateway.app.takeover import Takeovers
from gateway.call.journal import VERSION, JournalError

ONE, TWO, THREE = "one", "two", "three"


def record(call_id: str) -> bytes:
    return VERSION + marshal.dumps({"id": call_id, "legs": [], "targets": []})


class Journal:
    """What others have left."""

    def __init__(self) -> None:
        self.left: dict[str, dict[str, bytes]] = {}
        self.legs: dict[str, str] = {}
        self.is_away = False
        self.starts = 0

    async def started(self) -> None:
        self._answer()
        self.starts += 1

    async def nodes(self) -> frozenset[str]:
        self._answer()
        return frozenset(self.left)

    async def take(self, node: str) -> dict[str, bytes]:
        self._answer()
        return self.left.pop(node)

    async def node_of(self, tag: str) -> str | None:
        self._answer()
        return self.legs.get(tag)

    def _answer(self) -> None:
        if self.is_away:
            raise JournalError("no connection")


class Cluster:
    """The others, as one of them sees it."""

    node = ONE

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.is_open = True

    async def opened(self) -> None:
        return


class Recovery:
    """What was gone on with, and which calls a page may ask for."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.largest = 0
        self.forgotten: list[str] = []
        self.left = self

    async def take_over(self, calls: dict[str, Any]) -> dict[str, list[str]]:
        self.taken += calls
        self.largest = max(self.largest, len(calls))
        return {call_id: ["trunk"] for call_id in calls}

    def forget(self, call_id: str) -> None:
        self.forgotten.append(call_id)

    def of(self, user: str, tag: str) -> object | None:
        return object() if (user, tag) == ("alice", "leg") and self.taken else None


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
    rig.cluster.live, rig.answering = {TWO}, {THREE}
    await rig.takeovers.look()
    assert rig.recovery.taken == []
    rig.answering = set()
    await rig.takeovers.look()
    assert rig.recovery.taken == ["c"]
    rig.cluster.live = set()
    await rig.takeovers.look()
    await rig.takeovers.look()
    assert rig.recovery.taken == ["c", "b"]
    assert rig.journal.left.keys() == {ONE}


async def test_of_many_calls_few_are_taken_up_in_one_go(rig: Rig) -> None:
    """And one that cannot be read costs no other."""
    rig.journal.left = {TWO: {str(number): record(str(number)) for number in range(50)} | {"odd": b"no record"}}
    await rig.takeovers.look()
    assert len(rig.recovery.taken) == len(rig.trunks) == 50
    assert rig.recovery.largest <= 20
    assert rig.recovery.forgotten == ["odd"]


async def test_it_goes_on_looking_when_the_journal_was_away(rig: Rig) -> None:
    """Until the others see us no more; they are told once that we have started."""
    rig.journal.is_away, rig.journal.left = True, {TWO: {"b": record("b")}}
    running = asyncio.create_task(rig.takeovers.run(0.005))
    await asyncio.sleep(0.02)
    rig.journal.is_away = False
    async with asyncio.timeout(5):
        while not rig.recovery.taken:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    rig.cluster.is_open = False
    await asyncio.wait_for(running, 5)
    assert rig.journal.starts == 1


async def test_a_page_waits_for_its_call(rig: Rig) -> None:
    """As long as some gateway has it; for one that nobody has, or another user's, no longer than it may."""
    takeovers = rig.takeovers
    assert not await takeovers.to_come("alice", "leg", 60)
    rig.journal.legs = {"leg": TWO}
    assert not await takeovers.to_come("alice", "leg", 0.01)
    waiting = asyncio.create_task(takeovers.to_come("alice", "leg", 60))
    other = asyncio.create_task(takeovers.to_come("bob", "leg", 0.05))
    await asyncio.sleep(0)
    rig.journal.left = {TWO: {"b": record("b")}}
    await takeovers.look()
    assert await asyncio.wait_for(waiting, 5)
    assert not await other
    assert await takeovers.to_come("alice", "leg", 60)
    rig.journal.is_away = True
    assert not await takeovers.to_come("bob", "leg", 60)
