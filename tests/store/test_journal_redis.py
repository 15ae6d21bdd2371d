"""Records of calls that the gateways of a cluster see: each is read under the key alone, and taken by one of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import redis.asyncio as redis

from gateway.call.journal import JournalError
from gateway.store import journal_redis
from gateway.store.journal_redis import RedisJournal
from gateway.store.journal_shared import Begun

pytestmark = pytest.mark.wall

ONE, TWO, THREE = "sip:10.0.0.1:5060", "sip:10.0.0.2:5060", "sip:10.0.0.3:5060"
KEY = bytes(range(32))


class House:
    """Gateways of one Redis."""

    def __init__(self, url: str, prefix: str, stack: AsyncExitStack) -> None:
        self._url = url
        self._prefix = prefix
        self._stack = stack

    async def gateway(self, node: str, key: bytes = KEY) -> RedisJournal:
        made = RedisJournal(self._url, node, key, os.urandom, prefix=self._prefix)
        await made.open()
        self._stack.push_async_callback(made.close)
        return made

    async def everything(self) -> str:
        async with redis.Redis.from_url(self._url, decode_responses=True) as client:
            keys = [key async for key in client.scan_iter(f"{self._prefix}journal:calls:*")]
            return str([await client.hgetall(key) for key in keys])


@pytest.fixture
async def house(redis_url: str, tmp_path: object) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(redis_url, f"{tmp_path}:", stack)


async def all_of(journal: RedisJournal, node: str) -> dict[str, bytes]:
    """Take the calls of another gateway; those that are taken and not gone on with."""
    while await journal.take(node):
        pass
    found = await journal.records(sorted(await journal.claimed()))
    return {call_id: record for call_id, (record, _) in found.items()}


async def test_calls_of_one_gateway_are_taken_by_one_other(house: House) -> None:
    """By whoever asks first; from then on they are its own, whose gateway is found by each web leg."""
    one, two, three = [await house.gateway(node) for node in (ONE, TWO, THREE)]
    await one.write({"a": (b"first", ["leg-a"]), "b": (b"second", [])})
    await one.write({"a": (b"later", ["leg-b"]), "c": (b"third", ["leg-c"]), "d": None})
    await one.write({"c": None})
    assert [await two.node_of(tag) for tag in ("leg-a", "leg-b", "leg-c")] == [None, ONE, None]
    assert await two.nodes() == {ONE}
    taken = await asyncio.gather(all_of(two, ONE), all_of(three, ONE))
    assert sorted(taken, key=len) == [{}, {"a": b"later", "b": b"second"}]
    heir = TWO if taken[0] else THREE
    assert await one.node_of("leg-b") == heir
    assert await one.nodes() == {heir}
    again = await (two if heir == TWO else three).begin(60)
    assert again == Begun(frozenset(), frozenset("ab"), frozenset("ab"), 60)


async def test_many_calls_are_taken_few_at_a_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left in between is whoever's it is then: one that is back keeps it."""
    monkeypatch.setattr(journal_redis, "_MOVED", 3)
    one, two = await house.gateway(ONE), await house.gateway(TWO)
    await one.write({str(number): (b"call", []) for number in range(8)})
    assert await two.take(ONE) == 3
    assert await two.nodes() == {ONE, TWO}
    assert await two.take(ONE) == 3
    assert len(await one.renew(60, (), is_up=True)) == 6
    assert await two.take(ONE) == 0
    begun = await one.begin(60)
    assert len(begun.ids) == 2
    assert len(await two.claimed()) == 6


async def test_what_was_taken_stands_as_taken_until_it_is_written(house: House) -> None:
    """Whoever dies in between finds it at the next start, and so does who takes its calls."""
    one, two, three = [await house.gateway(node) for node in (ONE, TWO, THREE)]
    await one.write({"a": (b"first", []), "b": (b"second", []), "c": (b"third", [])})
    assert await all_of(two, ONE) == {"a": b"first", "b": b"second", "c": b"third"}
    await two.write({"a": (b"gone on with", []), "b": None})
    assert await two.claimed() == {"c"}
    begun = await two.begin(0.001)
    assert begun.ids == {"a", "c"}
    assert begun.claimed == {"c"}
    await until_taken(three, TWO)
    assert await three.claimed() == {"a", "c"}
    assert await two.claimed() == frozenset()
    assert (await two.begin(60)).taken == {"a", "c"}


async def until_taken(journal: RedisJournal, node: str) -> None:
    """Once nothing keeps us from it any more."""
    async with asyncio.timeout(30):
        while not await journal.take(node):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_how_often_a_record_was_read_is_counted_until_it_is_written(house: House) -> None:
    """By whomever: who has read one may have gone on with the call, and died before that was written."""
    one, two = await house.gateway(ONE), await house.gateway(TWO)
    await one.write({"a": (b"call", []), "b": (b"other", [])})
    assert [(await one.records(["a"]))["a"] for _ in range(2)] == [(b"call", 1), (b"call", 2)]
    await until_taken(two, ONE)
    assert await one.renew(60, ["a", "b"], is_up=True) == frozenset()
    await one.write({"a": None})  # it has let go
    assert await two.records(["a", "b", "none"]) == {"a": (b"call", 3), "b": (b"other", 1)}
    await two.write({"a": (b"gone on with", []), "b": None})
    assert await two.records(["a", "b"]) == {"a": (b"gone on with", 1)}


async def test_who_was_taken_over_is_told_until_it_has_let_go(house: House) -> None:
    """At its start as well as where it comes back; what it still writes of them changes nothing."""
    one, two = await house.gateway(ONE), await house.gateway(TWO)
    await one.write({"a": (b"first", ["leg"]), "b": (b"second", [])})
    await all_of(two, ONE)
    for _ in range(2):
        assert await one.renew(60, (), is_up=True) == {"a", "b"}
        assert (await one.begin(60)).taken == {"a", "b"}
    await one.write({"a": (b"of one that was asleep", ["leg"]), "b": None})
    assert await two.records(["a", "b"]) == {"a": (b"first", 2), "b": (b"second", 2)}
    assert await two.node_of("leg") == TWO
    assert await one.renew(60, ["a"], is_up=True) == {"b"}
    assert await one.renew(60, ["b", "a"], is_up=True) == frozenset()


async def test_of_calls_those_that_others_have_are_told_however_often_they_have_moved(house: House) -> None:
    """Also long after who had them first has let go; of our own those that we have taken and not gone on with."""
    one, two, three = [await house.gateway(node) for node in (ONE, TWO, THREE)]
    await one.write({name: (b"call", []) for name in ("moved", "ended", "taken")})
    await all_of(two, ONE)
    await one.renew(60, ["moved", "ended", "taken"], is_up=True)
    await two.write({"ended": None, "moved": (b"gone on with", [])})
    await one.write({"own": (b"call", [])})
    asked = ["moved", "ended", "taken", "own", "unknown"]
    assert await one.elsewhere(asked) == {"moved", "taken"}
    assert await two.elsewhere(asked) == {"taken", "own"}
    await all_of(three, TWO)
    assert await one.elsewhere(asked) == await three.elsewhere(["moved", "taken"]) == {"moved", "taken"}
    assert await one.elsewhere([]) == frozenset()


async def test_a_call_that_moves_while_it_is_asked_for_is_found(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a gateway that nobody knew a moment ago."""
    one, two, three = [await house.gateway(node) for node in (ONE, TWO, THREE)]
    await two.write({"a": (b"call", [])})
    nodes = one.nodes

    async def before_it_moves() -> frozenset[str]:
        found = await nodes()
        await all_of(three, TWO)
        return found

    monkeypatch.setattr(one, "nodes", before_it_moves)
    assert await one.elsewhere(["a"]) == {"a"}


async def test_a_call_that_comes_back_is_not_told_as_taken(house: House) -> None:
    """The one that had it first has it again, for the other has died since."""
    one, two = await house.gateway(ONE), await house.gateway(TWO)
    await one.write({"a": (b"call", [])})
    await all_of(two, ONE)
    assert await all_of(one, TWO) == {"a": b"call"}
    assert await one.renew(60, (), is_up=True) == frozenset()
    assert await two.renew(60, (), is_up=True) == {"a"}


async def test_nobody_takes_within_a_lease_nor_from_a_gateway_that_starts_or_is_to_come_back(house: House) -> None:
    """For as long as each of them said."""
    one, two = await house.gateway(ONE), await house.gateway(TWO)
    await one.write({"a": (b"call", [])})
    assert (await one.begin(60)).seconds == 60
    assert await two.take(ONE) == 0
    await one.renew(60, (), is_up=False)
    assert await two.take(ONE) == 0
    await one.renew(0.001, (), is_up=False)
    await one.hold(60)
    assert await two.take(ONE) == 0
    await one.hold(0.001)
    await until_taken(two, ONE)


async def test_one_that_starts_again_and_again_is_taken_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps others from its calls for a while in all; once it is up for good, it may begin anew."""
    monkeypatch.setattr(journal_redis, "_LONGEST", 40)
    one, two = await house.gateway(ONE), await house.gateway(TWO)
    await one.write({"a": (b"call", [])})
    assert 0 < (await one.begin(60)).seconds <= 0.04
    async with asyncio.timeout(30):
        while (await one.begin(60)).seconds:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await one.renew(0.001, (), is_up=False)
    assert (await one.begin(60)).seconds == 0
    await one.renew(0.001, (), is_up=True)
    monkeypatch.setattr(journal_redis, "_LONGEST", 60_000)
    assert (await one.begin(0.001)).seconds > 0
    await until_taken(two, ONE)


async def test_no_record_can_be_read_without_the_key(house: House) -> None:
    """Nor under the id of another call; what others have written there costs no call but that one."""
    one, other = await house.gateway(ONE), await house.gateway(TWO, bytes(32))
    await one.write({"a": (b"a secret word", ["leg"])})
    assert "secret" not in await house.everything()
    await other.write({"b": (b"other", [])})
    assert await all_of(await house.gateway(THREE), TWO) == {}
    assert await all_of(other, ONE) == {}
    assert await other.claimed() == {"a"}


async def test_a_redis_that_is_away_is_an_error_of_the_journal() -> None:
    """Without the words of its URL."""
    away = RedisJournal("redis://:secret@127.0.0.1:1/0", ONE, KEY, os.urandom, timeout=0.2)
    with pytest.raises(JournalError) as raised:
        await away.open()
    assert "secret" not in str(raised.value)
    with pytest.raises(JournalError):
        await away.nodes()
