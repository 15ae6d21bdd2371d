"""A store behind Sentinels goes on with the server that they choose; addresses of both kinds of Redis are read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions

from gateway.config import Config, checked
from gateway.errors import ConfigError
from gateway.identity.model import Binding
from gateway.identity.store import StoreError
from gateway.store.identity_redis import RedisStore
from gateway.store.redis_database import RedisDatabase
from tests.identity.conftest import redis_server
from tests.ports import free_port, free_ports
from tests.rows import by_row

NOW = 1_700_000_000.0
AOR = "sip:1001@gateway.local"
SERVICE = "gateway"


def binding(contact: str) -> Binding:
    return Binding(aor=AOR, contact=contact, expires_at=NOW + 60)


@contextmanager
def sentinel(folder: Path, port: int, master: int) -> Iterator[None]:
    """A Sentinel of its own, which takes little time to decide."""
    file = folder / "sentinel.conf"
    file.write_text(
        f"sentinel monitor {SERVICE} 127.0.0.1 {master} 1\n"
        f"sentinel down-after-milliseconds {SERVICE} 300\nsentinel failover-timeout {SERVICE} 1000\n"
    )
    with redis_server(port, folder, str(file), "--sentinel"):
        yield


async def replicated(sentinel_port: int, replica: int) -> None:
    """Wait until the replica has what the master has, and the Sentinel knows of it."""
    client = redis.asyncio.Redis(port=replica, decode_responses=True)
    watcher = redis.asyncio.Redis(port=sentinel_port, decode_responses=True)
    async with asyncio.timeout(30):
        while (await client.info("replication")).get("master_link_status") != "up":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        while not await watcher.sentinel_slaves(SERVICE):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await client.aclose()
    await watcher.aclose()


@pytest.mark.wall
async def test_a_server_that_dies_is_followed_by_its_replica(tmp_path: Path) -> None:
    """What was registered is there afterwards, and more can be; meanwhile the store says that it is away."""
    master, replica, watcher = free_ports(3)
    folders = [tmp_path / name for name in ("master", "replica", "sentinel")]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        first.enter_context(redis_server(master, folders[0]))
        stack.enter_context(redis_server(replica, folders[1], "--replicaof", "127.0.0.1", str(master)))
        stack.enter_context(sentinel(folders[2], watcher, master))
        await replicated(watcher, replica)
        store = RedisStore(f"redis+sentinel://127.0.0.1:{watcher}/{SERVICE}/0", timeout=1.0)
        await store.open()
        await store.put_binding(binding("sip:a@h"), NOW, 10)
        client = redis.asyncio.Redis(port=master)
        await client.wait(1, 2_000)
        await client.aclose()
        first.close()
        with pytest.raises(StoreError):
            await store.put_binding(binding("sip:b@h"), NOW, 10)
        async with asyncio.timeout(30):
            while True:
                try:
                    await store.put_binding(binding("sip:b@h"), NOW, 10)
                    break
                except StoreError:
                    await asyncio.sleep(0.1)
        assert {one.contact for one in await store.bindings(AOR, NOW)} == {"sip:a@h", "sip:b@h"}
        await store.close()


def of_a_cluster() -> tuple[str, ...]:
    """Options of a server of a Redis Cluster."""
    return ("--cluster-enabled", "yes", "--repl-diskless-sync-delay", "0", "--cluster-port", str(free_port()))


async def joined(master: int, bus: str, replica: int) -> None:
    """Wait until the master has all slots, and the other server is its replica and has what it has."""
    # The library says nothing of the types of its commands.
    first: Any = redis.asyncio.Redis(port=master, decode_responses=True)
    second: Any = redis.asyncio.Redis(port=replica, decode_responses=True)
    async with first, second, asyncio.timeout(30):
        await first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        await second.execute_command("CLUSTER", "MEET", "127.0.0.1", master, bus)
        name = await first.execute_command("CLUSTER", "MYID")
        while name not in str(await second.execute_command("CLUSTER", "NODES")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await second.execute_command("CLUSTER", "REPLICATE", name)
        while (await second.info("replication")).get("master_link_status") != "up":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        while "slave" not in str(await first.execute_command("CLUSTER", "NODES")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        while "cluster_state:ok" not in str(await first.execute_command("CLUSTER", "INFO")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.wall
async def test_a_cluster_goes_on_with_the_replica_of_a_server_that_died(tmp_path: Path) -> None:
    """What was registered is there afterwards, and more can be."""
    master, replica = free_ports(2)
    folders = [tmp_path / name for name in ("master", "replica")]
    for folder in folders:
        folder.mkdir()
    options = [of_a_cluster() for _ in folders]
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        first.enter_context(redis_server(master, folders[0], *options[0]))
        stack.enter_context(redis_server(replica, folders[1], *options[1]))
        await joined(master, options[0][-1], replica)
        store = RedisStore(f"redis+cluster://127.0.0.1:{master},127.0.0.1:{replica}", timeout=1.0)
        await store.open()
        await store.put_binding(binding("sip:a@h"), NOW, 10)
        async with redis.asyncio.Redis(port=master) as client:
            await client.wait(1, 2_000)
        first.close()
        with pytest.raises(StoreError):
            await store.put_binding(binding("sip:b@h"), NOW, 10)
        # Two servers are no majority that would choose: an operator does.
        other: Any = redis.asyncio.Redis(port=replica)
        async with other:
            await other.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        async with asyncio.timeout(30):
            while True:
                try:
                    await store.put_binding(binding("sip:b@h"), NOW, 10)
                    break
                except StoreError:
                    await asyncio.sleep(0.1)
        assert {one.contact for one in await store.bindings(AOR, NOW)} == {"sip:a@h", "sip:b@h"}
        await store.close()


async def test_a_cancellation_that_the_driver_takes_for_a_lost_connection_is_one() -> None:
    """Who asks again and again would never end, and with it no gateway that stops."""
    asked = asyncio.Event()

    async def command() -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise redis.exceptions.ConnectionError("Connection closed by server.") from None

    database = RedisDatabase("redis://127.0.0.1:1/0", 30.0, "the store", StoreError)
    task = asyncio.create_task(database.answered(command()))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@by_row(
    "url",
    [
        "redis+sentinel://user:hunter2@127.0.0.1:1",
        "redis+sentinel://user:hunter2@127.0.0.1:x/gateway",
        "redis+sentinel://user:hunter2@127.0.0.1/gateway",
        "redis+sentinel://user:hunter2@127.0.0.1:1/gateway/x",
        "redis+cluster://user:hunter2@127.0.0.1",
        "rediss+cluster://user:hunter2@127.0.0.1:1",
        "redis+sentinel://user:hunter2@[::1]:1,127.0.0.1:1/gateway/1",
    ],
)
async def test_what_cannot_be_read_or_reached_is_an_error_without_the_password(url: str) -> None:
    """Of any kind."""
    with pytest.raises(StoreError) as caught:
        await RedisStore(url, timeout=0.5).open()
    assert "hunter2" not in str(caught.value)


def test_the_kinds_of_redis_are_stores_that_can_be_configured() -> None:
    """Nothing else that looks like one is."""
    for kind in ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"):
        store = f"{kind}://h:1/gateway"
        values: dict[str, Any] = {"identity": {"store": store}, "messages": {"store": store}}
        assert checked(Config(**values)).identity.store == store
    for wrong in ("redis+proxy://h:1", "redis+sentinel:h:1/gateway"):
        with pytest.raises((ValueError, ConfigError)):
            Config(identity={"store": wrong})  # type: ignore[arg-type]
