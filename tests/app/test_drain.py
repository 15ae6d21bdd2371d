"""A gateway that drains refuses calls and ends in its time, whatever its cluster's store does."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gateway.app import drain as draining
from gateway.app.drain import drain
from tests.rows import by_row


class Rooms:
    """What is drained, and what became of it in order."""

    def __init__(self, *, others: bool = False, calls: bool = False) -> None:
        self.live = {"other"} if others else set()
        self.said: list[str] = []
        self.told: list[tuple[object, ...]] = []
        """What pages were told: seconds, and whether there is another gateway."""
        self.retry_after: list[tuple[object, ...]] = []
        """What peers are told."""
        self.waited: list[float] = []
        """Seconds that the last call was given, each time."""
        self.store, self.last = asyncio.Event(), asyncio.Event()
        """Set once the store answers, and once the last call has ended."""
        if not calls:
            self.last.set()

    async def run(self, seconds: float = 60.0) -> None:
        rooms = cast(Any, self)
        await drain(rooms.agent, rooms.presence, rooms.cluster, rooms.calls, seconds)

    @property
    def agent(self) -> Any:
        return self._room("agent")

    @property
    def presence(self) -> Any:
        return self._room("presence")

    @property
    def calls(self) -> Any:
        return self._room("calls")

    @property
    def cluster(self) -> Any:
        rooms = self

        class Cluster:
            @property
            def live(self) -> set[str]:
                return rooms.live

            async def drain(self) -> None:
                try:
                    await rooms.store.wait()
                    rooms.said.append("gone")
                except asyncio.CancelledError:
                    rooms.said.append("given up")
                    raise

        return Cluster()

    def _room(self, name: str) -> Any:
        rooms = self

        class Room:
            def drain(self, *told: object) -> Any:
                rooms.said.append(name)
                if name == "presence":
                    rooms.told.append(told)
                elif name == "agent":
                    rooms.retry_after.append(told)
                elif name == "calls":
                    rooms.waited += cast(tuple[float, ...], told)
                return rooms._ended() if name == "calls" else None

            def send_away_idle(self) -> None:
                rooms.said.append("send away")

        return Room()

    async def _ended(self) -> None:
        await self.last.wait()


@by_row(("seconds", "told"), [(0.4, 1), (7.5, 8), (60.0, 60)])
async def test_peers_come_back_when_it_is_over_and_not_before(seconds: float, told: int) -> None:
    """Retry-After has whole seconds; 0 of them would say that nothing drains."""
    rooms = Rooms()
    rooms.store.set()
    await rooms.run(seconds)
    assert rooms.retry_after == [(told,)]


async def test_calls_are_refused_before_the_store_has_answered() -> None:
    """It may take seconds for each page that is open; whoever is last to hang up ends the gateway once it has."""
    rooms = Rooms(calls=True)
    running = asyncio.create_task(rooms.run())
    await asyncio.sleep(0)
    assert rooms.said == ["agent", "presence", "calls"]
    rooms.store.set()
    rooms.last.set()
    await running
    assert rooms.said[-2:] == ["gone", "calls"]


@pytest.mark.parametrize("is_asked_again", [False, True])
async def test_a_store_that_does_not_answer_holds_no_gateway_up(
    monkeypatch: pytest.MonkeyPatch, is_asked_again: bool
) -> None:
    """It is waited for a little once no call is left, and not at all where a second signal came."""
    monkeypatch.setattr(draining, "_LAST", 0.01)
    rooms = Rooms(calls=is_asked_again)
    running = asyncio.create_task(rooms.run())
    await asyncio.sleep(0)
    if is_asked_again:
        await asyncio.sleep(0)
        running.cancel()
    await asyncio.wait([running], timeout=30)
    assert running.done()
    assert rooms.said[-1] == "given up"


async def test_a_call_that_is_let_in_while_the_store_answers_is_waited_for() -> None:
    """With what is left of the time."""
    rooms = Rooms()
    running = asyncio.create_task(rooms.run(30))
    for _ in range(4):
        await asyncio.sleep(0)
    rooms.last.clear()
    rooms.store.set()
    async with asyncio.timeout(30):
        while rooms.said.count("calls") < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert not running.done()
    rooms.last.set()
    await running
    assert [0 < seconds <= 30 for seconds in rooms.waited] == [True, True]


async def test_pages_are_sent_elsewhere_though_the_others_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer keeps nobody at a gateway that goes."""
    monkeypatch.setattr(draining, "_LAST", 0.01)
    rooms = Rooms(others=True, calls=True)
    running = asyncio.create_task(rooms.run())
    async with asyncio.timeout(30):
        while "send away" not in rooms.said:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    rooms.last.set()
    await running
    assert rooms.said[-2:] == ["given up", "send away"]


async def test_pages_are_sent_elsewhere_once_the_others_know() -> None:
    """Else a page that connects anew would be counted here; at the end whoever is left is sent as well."""
    rooms = Rooms(others=True, calls=True)
    running = asyncio.create_task(rooms.run())
    for _ in range(4):
        await asyncio.sleep(0)
    assert "send away" not in rooms.said
    rooms.store.set()
    for _ in range(8):
        await asyncio.sleep(0)
    assert rooms.said[-2:] == ["gone", "send away"]
    rooms.last.set()
    await running
    assert rooms.said[-3:] == ["send away", "calls", "send away"]


async def test_pages_are_told_when_another_gateway_comes_up_and_when_none_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the time that is left; nobody is sent away while there is nowhere to go."""
    monkeypatch.setattr(draining, "_EVERY", 0.01)
    rooms = Rooms(calls=True)
    rooms.store.set()
    running = asyncio.create_task(rooms.run())
    async with asyncio.timeout(30):
        await asyncio.sleep(0.05)
        assert "send away" not in rooms.said
        rooms.live.add("new")
        while "send away" not in rooms.said:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        rooms.live.clear()
        while len(rooms.told) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        sent = rooms.said.count("send away")
        await asyncio.sleep(0.05)
        rooms.last.set()
        await running
    assert rooms.said.count("send away") == sent
    assert [elsewhere for _, elsewhere in rooms.told] == [False, True, False]
    first, second, third = [cast(float, seconds) for seconds, _ in rooms.told]
    assert 60.0 == first > second > third > 0.0
