"""Limits count over all gateways of a cluster, bans hold at all; each counts alone where the store is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.access.bans import BanPolicy, Bans
from gateway.app import GatewayApp
from gateway.cluster.limits import SharedLimits
from gateway.identity.store import StoreError
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from tests.app.phones import Phone
from tests.identity.conftest import redis_server
from tests.interop.gateway import config_on_free_ports
from tests.net.peers import LOOPBACK, Application
from tests.ports import free_ports
from tests.rows import by_row

KEY = "the-key-of-the-cluster-in-these-tests"
USERS = [{"id": "1001", "sip": True, "max_calls": 2}, {"id": "1002", "sip": True}]


class Texts:
    """A store of texts, all gateways' together."""

    def __init__(self) -> None:
        self.texts: dict[str, tuple[str, float]] = {}
        self.now = 1000.0
        self.is_away = False
        self.writes = 0

    def clock(self) -> float:
        return self.now

    async def text(self, name: str) -> str | None:
        self._answer()
        text, expires_at = self.texts.get(name, ("", 0.0))
        return text if expires_at > self.now else None

    async def put_text(self, name: str, text: str, expires_at: float) -> None:
        self._answer()
        self.writes += 1
        self.texts[name] = text, expires_at

    def _answer(self) -> None:
        if self.is_away:
            raise StoreError("no connection")


class Node:
    """One gateway, as its others see it."""

    def __init__(self, name: str, texts: Texts, *others: str) -> None:
        self.node, self.with_calls = name, frozenset(others)
        self.counts: dict[str, float] = {}
        self.bans = Bans(BanPolicy(after=2), texts.clock)
        self.limits = SharedLimits(self, texts, lambda: self.counts, self.bans, 5.0, texts.clock, texts.clock)


async def test_what_others_count_is_added_up() -> None:
    """As each of them said it last; of who is there no more nothing."""
    texts = Texts()
    one, two, three = Node("one", texts, "two", "three"), Node("two", texts, "one"), Node("three", texts)
    two.counts, three.counts = {"calls:a": 2, "calls:b": 0}, {"calls:a": 1.5}
    for node in (two, three, one):
        await node.limits.exchange()
    assert one.limits.others("calls:a") == 3.5
    assert one.limits.others("calls:b") == two.limits.others("calls:a") == 0
    two.counts = {}
    one.with_calls = frozenset(("two",))
    for node in (two, one):
        await node.limits.exchange()
    assert one.limits.others("calls:a") == 0


async def test_a_gateway_that_dies_counts_no_more() -> None:
    """Its word stands for three intervals, whoever still takes it to be there."""
    texts = Texts()
    one, two = Node("one", texts, "two"), Node("two", texts)
    two.counts = {"calls:a": 2}
    await two.limits.exchange()
    texts.now += 14
    await one.limits.exchange()
    assert one.limits.others("calls:a") == 2
    texts.now += 2
    await one.limits.exchange()
    assert one.limits.others("calls:a") == 0


async def test_many_gateways_are_read_at_once() -> None:
    """Where each answer of the store takes a second, what the first has said would have run out by the last."""
    texts = Texts()
    names = [str(number) for number in range(20)]
    asked: list[str] = []
    all_asked = asyncio.Event()

    async def text(name: str) -> str | None:
        asked.append(name)
        if len(asked) == len(names):
            all_asked.set()
        await all_asked.wait()
        return '[{"calls:a": 1}, [], {}]'

    texts.text = text  # type: ignore[method-assign]
    one = Node("one", texts, *names)
    async with asyncio.timeout(30):
        await one.limits.exchange()
    assert one.limits.others("calls:a") == 20


async def test_little_is_written_where_nothing_changes() -> None:
    """Once an interval, so that it stands on."""
    texts = Texts()
    one = Node("one", texts)
    for _ in range(20):
        await one.limits.exchange()
        texts.now += 0.5
    assert texts.writes == 2


async def test_while_the_store_is_away_each_counts_alone_after_a_while() -> None:
    """What was heard last holds for three intervals."""
    texts = Texts()
    one, two = Node("one", texts, "two"), Node("two", texts)
    two.counts = {"calls:a": 2}
    await two.limits.exchange()
    await one.limits.exchange()
    texts.is_away = True
    texts.now += 15
    with pytest.raises(StoreError):
        await one.limits.exchange()
    assert one.limits.others("calls:a") == 2
    texts.now += 0.1
    assert one.limits.others("calls:a") == 0


@by_row(
    "text",
    ["", "no JSON", "[" * 100_000, "3", "[]", '[{"calls:a": "x"}, [], {}]', '[{"calls:a": -1}, [], {}]',
     '[{"calls:a": NaN}, [], {}]', '[{"calls:a": 1e999}, [], {}]', '[{}, [["1.2.3.4"]], {}]', '[{}, [], {"a": "x"}]',
     '[{}, [["no address", "why", 0, 1e99]], {"192.0.2.1": 1e99}]'],
)  # fmt: skip
async def test_what_cannot_be_read_counts_for_nothing(text: str) -> None:
    """Others may write into the store."""
    texts = Texts()
    one, two = Node("one", texts, "bad", "two"), Node("two", texts)
    two.counts = {"calls:a": 2}
    await two.limits.exchange()
    texts.texts["limits:bad"] = text, texts.now + 9
    await one.limits.exchange()
    assert one.limits.others("calls:a") == 2
    assert one.bans.now() == []


async def test_a_ban_holds_at_every_gateway_and_is_lifted_at_all() -> None:
    """By whoever lifts it; set again later it holds again."""
    texts = Texts()
    one, two = Node("one", texts, "two"), Node("two", texts, "one")

    async def all_look() -> None:
        for node in (one, two, one):
            texts.now += 0.5
            await node.limits.exchange()

    one.bans.ban("192.0.2.7", "a scanner")
    await all_look()
    [ban] = two.bans.now()
    assert (ban.address, ban.reason) == ("192.0.2.7", "a scanner")
    assert not two.bans.may_answer("192.0.2.7", 403)
    assert two.bans.lift("192.0.2.7")
    await all_look()
    await all_look()
    assert one.bans.now() == two.bans.now() == []
    one.bans.ban("192.0.2.7", "again")
    await all_look()
    assert [ban.reason for ban in two.bans.now()] == ["again"]
    texts.now += 2000
    await all_look()
    assert one.bans.now() == two.bans.now() == []


async def test_the_highest_figures_are_said_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a gateway writes into the store is bounded, and keeps what limits are reached by."""
    monkeypatch.setattr("gateway.cluster.limits._MOST", 2)
    texts = Texts()
    one, two = Node("one", texts, "two"), Node("two", texts)
    two.counts = {"calls:a": 1, "calls:b": 3, "calls:c": 2, "calls:d": 0.5}
    for node in (two, one):
        await node.limits.exchange()
    assert [one.limits.others(f"calls:{name}") for name in "abcd"] == [0, 3, 2, 0]


async def test_of_another_gateway_so_many_figures_and_bans_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it has written into the store."""
    monkeypatch.setattr("gateway.cluster.limits._MOST", 2)
    texts = Texts()
    one = Node("one", texts, "two")
    bans = [[f"192.0.2.{number}", "scan", texts.now, texts.now + 60] for number in range(3)]
    lifted = {f"198.51.100.{number}": texts.now for number in range(3)}
    counts = {f"calls:{name}": 1 for name in "abc"}
    texts.texts["limits:two"] = json.dumps([counts, bans, lifted]), texts.now + 9
    await one.limits.exchange()
    assert [one.limits.others(f"calls:{name}") for name in "abc"] == [1, 1, 0]
    assert [ban.address for ban in one.bans.now()] == ["192.0.2.0", "192.0.2.1"]
    assert list(one.bans.told().lifted) == ["198.51.100.0", "198.51.100.1"]


def test_few_bans_are_told_and_few_lifted_are_remembered() -> None:
    """However many sources there are."""
    texts = Texts()
    one = Node("one", texts)
    for number in range(3000):
        address = f"10.0.{number // 256}.{number % 256}"
        one.bans.ban(address, "scan")
        if number % 2:
            one.bans.lift(address)
    told = one.bans.told()
    assert len(told.bans) == 500
    assert len(told.lifted) == 1000
    assert len(json.dumps(list(told.bans))) < 100_000


class House:
    """Two gateways of one Redis, and somebody who calls."""

    one: GatewayApp
    two: GatewayApp
    agent: UserAgent

    def __init__(self, folder: Path, redis: int, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._redis = redis
        self._stack = stack

    async def start(self, name: str) -> GatewayApp:
        (self._folder / name).mkdir()
        [sip] = free_ports(1)
        config = config_on_free_ports(
            self._folder / name,
            SIP__LISTEN=f'["udp:127.0.0.1:{sip}"]',
            IDENTITY__STORE=f"redis://127.0.0.1:{self._redis}/0",
            CLUSTER__NODE=f"sip:127.0.0.1:{sip}",
            CLUSTER__KEY=KEY,
            CLUSTER__INTERVAL="0.5",
            USERS=json.dumps(USERS),
        )
        app = GatewayApp(config)
        await app.start()
        self._stack.push_async_callback(app.stop)
        return app

    async def refused(self, app: GatewayApp, user: str, status: int = 503) -> None:
        """Wait until a call of that user is."""
        await self._until(app, user, status)

    async def taken(self, app: GatewayApp, user: str) -> Phone:
        """Wait until one is answered; it is up."""
        return await self._until(app, user, 200)

    async def _until(self, app: GatewayApp, user: str, status: int) -> Phone:
        async with asyncio.timeout(30):
            while True:
                phone = Phone(self.agent, app, user)
                if await phone.status() == status:
                    return phone
                phone.session.hangup()
                await asyncio.sleep(0.05)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    [redis] = free_ports(1)
    async with AsyncExitStack() as stack:
        stack.enter_context(redis_server(redis, tmp_path))
        house = House(tmp_path, redis, stack)
        house.one, house.two = await house.start("one"), await house.start("two")
        house.agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await house.agent.start()
        stack.push_async_callback(house.agent.close)
        await until(lambda: house.one._cluster.live and house.two._cluster.live)
        yield house


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.wall
async def test_a_user_who_is_at_the_limit_at_one_gateway_is_refused_at_the_other(house: House) -> None:
    """With one call at each as well; until one of them is over, and others as ever."""
    first, second = Phone(house.agent, house.one, "1001"), Phone(house.agent, house.one, "1001")
    assert await first.status() == await second.status() == 200
    await house.refused(house.two, "1001")
    (await house.taken(house.two, "1002")).session.hangup()
    second.session.hangup()
    third = await house.taken(house.two, "1001")
    await house.refused(house.one, "1001")
    await house.refused(house.two, "1001")
    for phone in (first, third):
        phone.session.hangup()
    await until(lambda: not len(house.one.calls) and not len(house.two.calls))
    await house.one.stop()
    (await house.taken(house.two, "1001")).session.hangup()


@pytest.mark.wall
async def test_calls_of_a_gateway_that_drains_count_until_they_end(house: House) -> None:
    """At the others, and at one that begins meanwhile."""
    first, second = Phone(house.agent, house.one, "1001"), Phone(house.agent, house.one, "1001")
    assert await first.status() == await second.status() == 200
    draining = asyncio.create_task(house.one.drain())
    await until(lambda: not house.two._cluster.live)
    late = await house.start("late")
    await until(lambda: late._cluster.with_calls == {house.one._cluster.node, house.two._cluster.node})
    await house.refused(late, "1001")
    await asyncio.sleep(2)  # longer than a gateway stands that says nothing
    for app in (house.two, late):
        await house.refused(app, "1001")
    second.session.hangup()
    third = await house.taken(house.two, "1001")
    await house.refused(late, "1001")
    third.session.hangup()
    assert not draining.done()
    first.session.hangup()
    await draining
    await house.one.stop()
    await until(lambda: house.one._cluster.node not in house.two._cluster.with_calls)
