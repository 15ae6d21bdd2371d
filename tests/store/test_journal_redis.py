"""Records of calls that the gateways of a cluster see: each is read under the key alone, and taken by one of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import redis.asyncio as redis

from gateway.call.journal import JournalError
from gateway.store.journal_redis import RedisJournal
from gateway.store.journal_shared import Begun

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


async def test_calls_of_one_gateway_are_taken_by_one_other(house: House) -> None:
    """All at once, by whoever asks first; from then on they are its own, whose gateway is found by each web leg."""
    one, two, three = [await house.gateway(node) for node in (ONE, TWO, THREE)]
    await one.write({"a": (b"first", ["leg-a"]), "b": (b"second", [])})
    await one.write({"a": (b"later", ["leg-b"]), "c": (b"third", ["leg-c"]), "d": None})
    await one.write({"c": None})
    assert [await two.node_of(tag) for tag in ("leg-a", "leg-b", "leg-c")] == [None, ONE, None]
    assert await two.nodes() == {ONE}
    taken = await asyncio.gather(two.take(ONE), three.take(ONE))
    assert sorted(taken, key=len) == [{}, {"a": b"later", "b": b"second"}]
    heir = TWO if taken[0] else THREE
    assert await one.node_of("leg-b") == heir
    begun = await one.begin(60)
    assert begun == Begun(frozenset(("a", "b")), {})
    assert (await one.begin(60)).taken == frozenset()
    again = await (two if heir == TWO else three).begin(60)
    assert again == Begun(frozenset(), {"a": b"later", "b": b"second"})


async def test_what_was_taken_without_an_answer_is_given_once_more(house: House) -> None:
    """To who has taken it, without what has ended since; until the one whose they were has been told."""
    one, two, three = [await house.gateway(node) for node in (ONE, TWO, THREE)]
    await two.write({"own": (b"own", [])})
    await one.write({"a": (b"first", []), "b": (b"second", [])})
    for _ in range(2):
        assert await two.take(ONE) == {"a": b"first", "b": b"second"}
    assert await three.take(ONE) == {}
    await two.write({"a": None})
    assert await two.take(ONE) == {"b": b"second"}
    assert (await one.begin(60)).taken == {"a", "b"}
    await one.started()
    assert await two.take(ONE) == {}


async def test_nobody_takes_from_a_gateway_that_starts_or_is_to_come_back(house: House) -> None:
    """Until the others see it again; or for as long as it said."""
    one, two = await house.gateway(ONE), await house.gateway(TWO)
    await one.write({"a": (b"call", [])})
    assert (await one.begin(60)).records == {"a": b"call"}
    assert await two.take(ONE) == {}
    await one.started()
    await one.hold(60)
    assert await two.take(ONE) == {}
    await one.hold(0.001)
    async with asyncio.timeout(5):
        while await two.take(ONE) != {"a": b"call"}:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_no_record_can_be_read_without_the_key(house: House) -> None:
    """Nor under the id of another call; what others have written there costs no call but that one."""
    one, other = await house.gateway(ONE), await house.gateway(TWO, bytes(32))
    await one.write({"a": (b"a secret word", ["leg"])})
    assert "secret" not in await house.everything()
    await other.write({"b": (b"other", [])})
    assert await (await house.gateway(THREE)).take(TWO) == {}
    assert await other.take(ONE) == {}


async def test_a_redis_that_is_away_is_an_error_of_the_journal() -> None:
    """Without the words of its URL."""
    away = RedisJournal("redis://:secret@127.0.0.1:1/0", ONE, KEY, os.urandom, timeout=0.2)
    with pytest.raises(JournalError) as raised:
        await away.open()
    assert "secret" not in str(raised.value)
    with pytest.raises(JournalError):
        await away.nodes()
