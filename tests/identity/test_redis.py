"""What only the Redis store has to keep: expiry inside Redis, several gateways, errors without secrets."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio

from gateway.identity.model import Binding
from gateway.identity.store import StoreError
from gateway.store.identity_redis import RedisStore
from gateway.store.redis_database import RedisDatabase, _read
from tests.identity.conftest import redis_server
from tests.ports import free_port
from tests.rows import by_row

pytestmark = pytest.mark.wall

NOW = 1_700_000_000.0
AOR = "sip:1001@gateway.local"


def binding(contact: str, expires_in: float = 60.0) -> Binding:
    return Binding(aor=AOR, contact=contact, expires_at=NOW + expires_in)


async def test_redis_drops_an_address_after_its_last_binding(redis_url: str) -> None:
    """The key of an address lives as long as its longest binding, so nothing is left if all gateways die."""
    store = RedisStore(redis_url, prefix="ttl:")
    await store.open()
    await store.put_binding(binding("sip:a@h", 100), NOW, 10)
    await store.put_binding(binding("sip:b@h", 50), NOW, 10)
    client = redis.asyncio.Redis.from_url(redis_url)
    remaining = await client.pttl(f"ttl:bindings:{AOR}")
    await client.aclose()
    assert 90_000 < remaining <= 100_000
    await store.close()


async def test_flows_of_a_gateway_from_before_they_had_names_of_their_own_are_kept(redis_url: str) -> None:
    """A field that is named by the contact of a flow is that flow: refreshed in its place, and removed."""
    store = RedisStore(redis_url, prefix="old:")
    await store.open()
    first = replace(binding("sip:a@h"), instance="urn:uuid:1", reg_id=1)
    await store.put_binding(first, NOW, 10)
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    [(field, value)] = (await client.hgetall(f"old:bindings:{AOR}")).items()
    await client.hdel(f"old:bindings:{AOR}", field)
    await client.hset(f"old:bindings:{AOR}", "sip:a@h", value)
    second, again = replace(first, reg_id=2), replace(first, cseq=2)
    assert await store.change_bindings(AOR, [first], (), [again, second], NOW)
    assert await store.bindings(AOR, NOW) == [second, again]
    assert len(await client.hkeys(f"old:bindings:{AOR}")) == 2
    await client.aclose()
    await store.close()


async def test_two_gateways_share_bindings_and_limit(redis_url: str) -> None:
    """What one gateway registers the other finds, and the limit holds over both together."""
    one, two = RedisStore(redis_url, prefix="shared:"), RedisStore(redis_url, prefix="shared:")
    await one.open()
    await two.open()
    attempts = [
        store.put_binding(binding(f"sip:{number}{name}@h"), NOW, 7)
        for number in range(10)
        for name, store in (("a", one), ("b", two))
    ]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(result is None for result in results) == 7
    assert await one.bindings(AOR, NOW) == await two.bindings(AOR, NOW)
    assert len(await two.bindings(AOR, NOW)) == 7
    await one.close()
    await two.close()


@pytest.mark.parametrize("url", ["redis_url", "redis_cluster_url"])
async def test_many_commands_at_once_wait_for_their_turn(url: str, request: pytest.FixtureRequest) -> None:
    """None is refused by the driver for want of a connection."""
    store = RedisStore(request.getfixturevalue(url), prefix="crowd:", timeout=30.0)
    await store.open()
    await store.put_binding(binding("sip:a@h"), NOW, 10)
    found = await asyncio.gather(*(store.bindings(AOR, NOW) for _ in range(1_000)))
    assert all(len(bindings) == 1 for bindings in found)
    await store.close()


async def test_nobody_waits_for_a_turn_longer_than_for_an_answer(redis_url: str) -> None:
    """Where all turns are taken by what is never answered; afterwards it works on."""
    database = RedisDatabase(redis_url, 0.3, "the store", StoreError)
    await database.open()
    stuck = [asyncio.create_task(database.answered(asyncio.Event().wait())) for _ in range(200)]
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="TimeoutError"):
        await database.answered(database.client.ping())
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    assert await database.answered(database.client.ping())
    await database.close()


@by_row("text", ["", "[]", "{}", '{"later": 1}', "x"])
async def test_what_another_version_has_written_hides_nothing_else(redis_url: str, text: str) -> None:
    """A binding that cannot be read is passed over."""
    store = RedisStore(redis_url, prefix=f"later{text}:")
    await store.open()
    await store.put_binding(binding("sip:a@h"), NOW, 10)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.hset(f"later{text}:bindings:{AOR}", "sip:b@h", f"7 {NOW + 60} -\n{text}")
    assert [found.contact for found in await store.bindings(AOR, NOW)] == ["sip:a@h"]
    await store.close()


async def test_what_is_changed_is_gone_from_redis_once_it_has_expired(redis_url: str) -> None:
    """Though no gateway is left to sweep it."""
    store = RedisStore(redis_url, prefix="swept by nobody:")
    await store.open()
    one = replace(binding("sip:a@h"), aor="sip:a@h")
    assert await store.change_bindings("sip:a@h", (), (), (one,), NOW)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        left = await client.pttl("swept by nobody:bindings:sip:a@h")
    assert 0 < left <= (one.expires_at - NOW) * 1000
    await store.close()


async def test_who_is_cancelled_does_not_go_on_where_the_driver_takes_that_for_a_lost_connection() -> None:
    """It raises an error of its own then, and the task would never end."""
    began = asyncio.Event()

    async def command() -> None:
        try:
            began.set()
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            raise redis.asyncio.ConnectionError from None

    task = asyncio.create_task(RedisDatabase("redis://h:1", 600, "the store", StoreError).answered(command()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_who_signs_in_at_several_servers_is_read_from_the_url() -> None:
    """Name and password as URLs write them; none is none."""
    assert _read("rediss+cluster://us%40er:p%3Ass@h:1,[::1]:2/x") == (
        [("h", 1), ("::1", 2)],
        "x",
        {"ssl": True, "username": "us@er", "password": "p:ss"},
    )
    assert _read("redis+cluster://:p@h:1")[2] == {"username": None, "password": "p"}
    assert _read("redis+cluster://h:1")[2] == {}


async def test_expire_works_through_more_than_one_batch(redis_url: str) -> None:
    """More bindings than one script takes are all dropped and counted."""
    store = RedisStore(redis_url, prefix="many:")
    await store.open()
    for number in range(0, 1_100, 100):
        await asyncio.gather(
            *(
                store.put_binding(replace(binding("sip:a@h"), aor=f"sip:{number + index}@h"), NOW, 1)
                for index in range(100)
            )
        )
    assert await store.expire(NOW + 100) == 1_100
    await store.close()


async def test_restart_of_the_server_is_survived(tmp_path: Path) -> None:
    """While Redis is away every operation is a StoreError; when it is back the store works on by itself."""
    port = free_port()
    store = RedisStore(f"redis://127.0.0.1:{port}/0", timeout=1.0)
    with redis_server(port, tmp_path):
        await store.open()
        await store.put_binding(binding("sip:a@h"), NOW, 10)
    for _ in range(3):
        with pytest.raises(StoreError):
            await store.bindings(AOR, NOW)
        with pytest.raises(StoreError):
            await store.put_binding(binding("sip:b@h"), NOW, 10)
    with redis_server(port, tmp_path):
        # The server has forgotten the scripts as well as the data.
        await store.put_binding(binding("sip:c@h"), NOW, 10)
        assert [found.contact for found in await store.bindings(AOR, NOW)] == ["sip:c@h"]
        await store.close()


async def test_unreachable_server_is_a_store_error_without_its_password() -> None:
    """Nothing of the URL, least of all the password, is in the sentence."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        store = RedisStore(f"redis://user:hunter2@127.0.0.1:{probe.getsockname()[1]}/0", timeout=0.5)
        with pytest.raises(StoreError) as caught:
            await store.open()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__
    await store.close()


async def test_url_that_cannot_be_read_is_a_store_error() -> None:
    """A URL of another scheme is refused without being repeated."""
    with pytest.raises(StoreError, match="cannot be read") as caught:
        await RedisStore("http://hunter2@127.0.0.1").open()
    assert "hunter2" not in str(caught.value)


async def test_closed_store_says_so(redis_url: str) -> None:
    """Use before open is a StoreError."""
    store = RedisStore(redis_url)
    with pytest.raises(StoreError, match="not open"):
        await store.bindings(AOR, NOW)
    with pytest.raises(StoreError, match="not open"):
        await store.put_binding(binding("sip:a@h"), NOW, 1)
