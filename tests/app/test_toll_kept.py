"""What the brake on toll fraud has counted outlives its process."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.app.opening import Opening
from gateway.call.limits import CallLimits
from gateway.call.toll import TollBrake
from gateway.cluster import toll as toll_kept
from gateway.cluster.toll import KeptToll, keep_toll
from gateway.config import Config
from gateway.identity.store import StoreError
from gateway.store.identity_memory import MemoryStore
from tests.call.toll_rig import ALICE, BOB, Clock, number, passed
from tests.rows import by_row


class Texts:
    """A store that may be away."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.is_away = False
        self.written = 0

    async def text(self, name: str) -> str | None:
        if self.is_away:
            raise StoreError("away")
        return self.kept.get(name)

    async def put_text(self, name: str, text: str, expires_at: float) -> None:
        if self.is_away:
            raise StoreError("away")
        self.kept[name] = text
        self.written += 1


class Process:
    """One after the other, on one machine and its store."""

    def __init__(self, texts: Texts, clock: Callable[[], float], wall: Callable[[], float], boot: str = "a") -> None:
        self.brake = TollBrake(CallLimits(prefix_calls_per_hour=10), clock)
        self.kept = KeptToll(self.brake, texts, "", wall, lambda: (boot, clock()))


async def test_a_kill_gives_nobody_a_fresh_budget() -> None:
    """What is forgiven while no process runs is; whatever the wall clock was set to."""
    texts, clock, wall = Texts(), Clock(), Clock()
    one = Process(texts, clock, wall)
    await one.kept.look()
    assert passed(one.brake, ALICE, number("+2376001")) == 10
    await one.kept.look()
    clock.now += 720
    wall.now += 86_400
    next_one = Process(texts, clock, wall)
    await next_one.kept.look()
    assert passed(next_one.brake, ALICE, number("+2376001")) == 2
    assert passed(next_one.brake, BOB, number("+2376001")) == 10


async def test_after_the_machine_was_started_the_wall_clock_tells() -> None:
    """Its own seconds begin anew."""
    texts, clock, wall = Texts(), Clock(), Clock()
    one = Process(texts, clock, wall)
    passed(one.brake, ALICE, number("+2376001"))
    await one.kept.look()
    wall.now += 1_440
    next_one = Process(texts, Clock(), wall, "b")
    await next_one.kept.look()
    assert passed(next_one.brake, ALICE, number("+2376001")) == 4


async def test_what_cannot_be_read_at_the_start_is_read_later_and_not_written_over() -> None:
    """Both count then."""
    texts, clock = Texts(), Clock()
    one = Process(texts, clock, clock)
    assert passed(one.brake, ALICE, number("+2376001"), 6) == 6
    await one.kept.look()
    texts.is_away = True
    next_one = Process(texts, clock, clock)
    await next_one.kept.look()
    assert passed(next_one.brake, ALICE, number("+2376001"), 3) == 3
    texts.is_away = False
    await next_one.kept.look()
    assert passed(next_one.brake, ALICE, number("+2376001")) == 1
    last = Process(texts, clock, clock)
    await next_one.kept.look()
    await last.kept.look()
    assert passed(last.brake, ALICE, number("+2376001")) == 0


async def test_what_was_counted_before_counts_once() -> None:
    """However often it is looked whether there is more to be kept."""
    texts, clock = Texts(), Clock()
    one = Process(texts, clock, clock)
    assert passed(one.brake, ALICE, number("+2376001"), 3) == 3
    await one.kept.look()
    next_one = Process(texts, clock, clock)
    for _ in range(3):
        await next_one.kept.look()
    assert passed(next_one.brake, ALICE, number("+2376001")) == 7


async def test_what_was_counted_last_is_kept_at_a_stop(tmp_path: Path) -> None:
    """Though the next look was not due yet."""
    clock, store = Clock(), MemoryStore()
    brakes = [TollBrake(CallLimits(prefix_calls_per_hour=10), clock) for _ in range(2)]
    for brake, through in zip(brakes, (10, 0), strict=True):
        opening = Opening(Config(state_dir=tmp_path), os.urandom, clock)
        async with opening.stack:
            await keep_toll(opening, brake, store, None)
            assert passed(brake, ALICE, number("+2376001")) == through


async def test_it_is_written_when_there_is_more() -> None:
    """A call that is refused is no more."""
    texts, clock = Texts(), Clock()
    one = Process(texts, clock, clock)
    for _ in range(3):
        await one.kept.look()
    assert texts.written == 0
    for _ in range(3):
        passed(one.brake, ALICE, number("+2376001"))
        await one.kept.look()
    assert texts.written == 1


@by_row(
    "text", ["", "[]", "{}", '{"taken_at": 1, "spent": [["a", "b"]]}', '{"taken_at": 1, "spent": [["a", "b", "nan"]]}']
)
async def test_what_is_no_count_is_left_alone(text: str) -> None:
    """And is written over by the next."""
    texts, clock = Texts(), Clock()
    texts.kept["toll:"] = text
    one = Process(texts, clock, clock)
    await one.kept.look()
    assert passed(one.brake, ALICE, number("+2376001"), 1) == 1
    await one.kept.look()
    assert json.loads(texts.kept["toll:"])["spent"] == [["alice", "+23760", 1.0]]


async def test_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with the most calls."""
    monkeypatch.setattr(toll_kept, "_MOST", 2)
    texts, clock = Texts(), Clock()
    one = Process(texts, clock, clock)
    for count, text in ((1, "111111"), (5, "222222"), (3, "333333")):
        passed(one.brake, ALICE, number(text), count)
    await one.kept.look()
    assert [calls for _, _, calls in json.loads(texts.kept["toll:"])["spent"]] == [5.0, 3.0]


async def test_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every so often, until it is cancelled."""
    monkeypatch.setattr(toll_kept, "_EVERY", 0.001)
    texts, clock = Texts(), Clock()
    one = Process(texts, clock, clock)
    passed(one.brake, ALICE, number("111111"), 1)
    running = asyncio.create_task(one.kept.run())
    async with asyncio.timeout(30):
        while not texts.written:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
