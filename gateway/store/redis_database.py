"""One Redis behind a store: a server, one that Sentinels name, or a Redis Cluster.

Every failure is the store's own error, without the secrets of the URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, cast
from urllib.parse import unquote

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisClusterException, RedisError

from gateway.errors import GatewayError

_CLUSTER = "cluster"
_TO_OPEN = 5
"""Times the timeout of a command that the first answer may take."""
_AT_ONCE = 100
"""Commands that Redis has at a time, each by a connection of its own; the others wait for their turn."""


class RedisDatabase:
    """Used by one store."""

    def __init__(self, url: str, timeout: float, what: str, error: type[GatewayError]) -> None:
        """`timeout` bounds every command (s).

        `url` is "redis://host:port/database", "redis+sentinel://host:port,host:port/SERVICE/database" or
        "redis+cluster://host:port,host:port"; rediss in place of redis is TLS. `what` is the store in the sentences of
        `error`, the only exception that is raised ("the identity store").
        """
        self._url = url
        self._timeout = timeout
        self._what = what
        self._error = error
        self._client: redis.Redis | None = None
        self._sentinel: Any = None
        self._named: dict[str, ClusterNode] = {}
        """Of a Cluster, the servers that the URL names."""
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def prefix(self, prefix: str) -> str:
        """What keys begin with for `prefix`, "gateway:": in a Cluster all are of one slot, as the scripts need it."""
        return f"{{{prefix.removesuffix(':')}}}:" if _kind(self._url) == _CLUSTER else prefix

    async def open(self) -> None:
        """Reach it; idempotent."""
        if self._client is not None:
            return
        try:
            client = self._made()
        except (RedisError, ValueError):
            # The library's sentence repeats the URL, which may hold a password.
            raise self._error(f"the URL of {self._what} cannot be read") from None
        try:
            # The driver of a Cluster first makes a table of all its slots.
            await self.answered(client.ping(), _TO_OPEN * self._timeout)
        except BaseException:
            await self._let_go(client)
            raise
        self._client = client

    def _made(self) -> redis.Redis:
        options: dict[str, Any] = {
            "decode_responses": True,
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout,
            # The drivers refuse at once whatever would be more, and have some of their own.
            "max_connections": 2 * _AT_ONCE,
        }
        kind = _kind(self._url)
        if not kind:
            return redis.Redis.from_url(self._url, **options)
        places, path, login = _read(self._url)
        options |= login
        if kind == _CLUSTER:
            nodes = [ClusterNode(host, port) for host, port in places]
            cluster = redis.RedisCluster(startup_nodes=nodes, **options)
            self._named = dict(cluster.nodes_manager.startup_nodes)
            return cast("redis.Redis", cluster)
        service, _, database = path.partition("/")
        if not service:
            raise ValueError("no service is named")
        named: Any = Sentinel  # the library says nothing of its types
        self._sentinel = named(places, sentinel_kwargs={"socket_timeout": self._timeout}, **options)
        return cast("redis.Redis", self._sentinel.master_for(service, db=int(database or 0)))

    async def close(self) -> None:
        """Idempotent."""
        if self._client is not None:
            client, self._client = self._client, None
            await self._let_go(client)

    async def _let_go(self, client: redis.Redis) -> None:
        await self.answered(client.aclose())
        sentinel, self._sentinel = self._sentinel, None
        for one in sentinel.sentinels if sentinel is not None else ():
            await self.answered(one.aclose())

    @property
    def client(self) -> redis.Redis:
        """The driver, to make commands of."""
        if self._client is None:
            raise self._error(f"{self._what} is not open")
        return self._client

    async def answered(self, command: Any, seconds: float | None = None) -> Any:
        """The answer to a command; whatever keeps Redis from giving it is an error of the store.

        `seconds` in place of the timeout of every command, of Sentinels and Clusters. It waits no longer for its turn
        than a command may take.
        """
        # The drivers of Sentinels and Clusters try others meanwhile, each for its own time.
        bound = seconds or self._timeout if _kind(self._url) else None
        try:
            async with asyncio.timeout(self._timeout):
                await self._turns.acquire()
            try:
                async with asyncio.timeout(bound):
                    return await cast("Awaitable[Any]", command)
            finally:
                self._turns.release()
        except (RedisError, RedisClusterException, OSError, UnicodeError) as error:
            self._ask_all_again()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # The driver takes a cancellation for a connection that is gone, and who was cancelled would go on.
                raise asyncio.CancelledError from None
            raise self._error(f"{self._what} failed ({type(error).__name__})") from None
        finally:
            if asyncio.iscoroutine(command):
                command.close()  # one that never had its turn would complain that nobody had awaited it

    def _ask_all_again(self) -> None:
        """The driver knows those servers alone that it has seen at its last look, and none of them is there."""
        client: Any = self._client
        if self._named and client is not None:
            for name, node in self._named.items():
                client.nodes_manager.startup_nodes.setdefault(name, node)


def _kind(url: str) -> str:
    return url.partition(":")[0].partition("+")[2]


def _read(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """Hosts and ports, path, and who signs in how; raises ValueError."""
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    places = []
    for place in hosts.split(","):
        host, _, port = place.rpartition(":")
        if not host:
            raise ValueError("a host lacks its port")
        places.append((host.strip("[]"), int(port)))
    options: dict[str, Any] = {"ssl": True} if scheme.startswith("rediss") else {}
    if at:
        user, _, password = login.partition(":")
        options |= {"username": unquote(user) or None, "password": unquote(password) or None}
    return places, path, options
