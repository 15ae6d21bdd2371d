"""Redis behind a store: a server, one found by Sentinels, or a Redis Cluster.

Every failure raises the store's own error, without the secrets of the URL.
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
"""Factor on the command timeout for the first answer."""
_AT_ONCE = 100
"""Concurrent commands, each on its own connection; others wait."""


class RedisDatabase:
    """Redis connection of one store."""

    def __init__(self, url: str, timeout: float, what: str, error: type[GatewayError]) -> None:
        """`timeout`: bound of every command, in seconds.

        `url`: "redis://host:port/database", "redis+sentinel://host:port,host:port/SERVICE/database" or
        "redis+cluster://host:port,host:port"; rediss instead of redis means TLS. `what`: name of the store in `error`,
        the only exception raised ("the identity store").
        """
        self._url = url
        self._timeout = timeout
        self._what = what
        self._error = error
        self._client: redis.Redis | None = None
        self._sentinel: Any = None
        self._named: dict[str, ClusterNode] = {}
        """For a Cluster, the servers named in the URL."""
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def prefix(self, prefix: str) -> str:
        """Return the key prefix for "gateway:"; in a Cluster all keys share one slot, as required by scripts."""
        return f"{{{prefix.removesuffix(':')}}}:" if _kind(self._url) == _CLUSTER else prefix

    async def open(self) -> None:
        """Connect; idempotent."""
        if self._client is not None:
            return
        try:
            client = self._made()
        except (RedisError, ValueError):
            # The library's message repeats the URL, which may hold a password.
            raise self._error(f"the URL of {self._what} cannot be read") from None
        try:
            # The driver of a Cluster first builds a table of all its slots.
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
            # The drivers reject further connections at once, and use some of their own.
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
        named: Any = Sentinel  # the library has no type hints
        self._sentinel = named(places, sentinel_kwargs={"socket_timeout": self._timeout}, **options)
        return cast("redis.Redis", self._sentinel.master_for(service, db=int(database or 0)))

    async def close(self) -> None:
        """Close the connection; idempotent."""
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
        """Return the driver, for building commands."""
        if self._client is None:
            raise self._error(f"{self._what} is not open")
        return self._client

    async def answered(self, command: Any, seconds: float | None = None) -> Any:
        """Return the answer to a command; any failure of Redis raises the store's error.

        `seconds` replaces the command timeout for Sentinels and Clusters. The wait for a free connection is bounded by
        the timeout.
        """
        # The drivers of Sentinels and Clusters try other servers meanwhile, each with its own timeout.
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
                # The driver reports a cancellation as a lost connection, and the cancelled task would continue.
                raise asyncio.CancelledError from None
            raise self._error(f"{self._what} failed ({type(error).__name__})") from None
        finally:
            if asyncio.iscoroutine(command):
                command.close()  # a coroutine never awaited would cause a warning

    def _ask_all_again(self) -> None:
        """Restore the servers of the URL: the driver remembers only those seen last, and none of them answers."""
        client: Any = self._client
        if self._named and client is not None:
            for name, node in self._named.items():
                client.nodes_manager.startup_nodes.setdefault(name, node)


def _kind(url: str) -> str:
    return url.partition(":")[0].partition("+")[2]


def _read(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """Return hosts and ports, path, and credentials of the URL; raise ValueError."""
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
