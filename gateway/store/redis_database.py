"""One Redis database behind a store; every failure is the store's own error, without the secrets of the URL."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

import redis.asyncio as redis
from redis.exceptions import RedisError

from gateway.errors import GatewayError


class RedisDatabase:
    """Used by one store."""

    def __init__(self, url: str, timeout: float, what: str, error: type[GatewayError]) -> None:
        """`url` is "redis://host:port/database"; `timeout` bounds every command (s).

        `what` is the store in the sentences of `error`, the only exception that is raised ("the identity store").
        """
        self._url = url
        self._timeout = timeout
        self._what = what
        self._error = error
        self._client: redis.Redis | None = None

    async def open(self) -> None:
        """Reach it; idempotent."""
        if self._client is not None:
            return
        try:
            client = redis.Redis.from_url(
                self._url,
                decode_responses=True,
                socket_timeout=self._timeout,
                socket_connect_timeout=self._timeout,
            )
        except (RedisError, ValueError):
            # The library's sentence repeats the URL, which may hold a password.
            raise self._error(f"the URL of {self._what} cannot be read") from None
        try:
            await self.answered(client.ping())
        except BaseException:
            await client.aclose()
            raise
        self._client = client

    async def close(self) -> None:
        """Idempotent."""
        if self._client is not None:
            client, self._client = self._client, None
            await self.answered(client.aclose())

    @property
    def client(self) -> redis.Redis:
        """The driver, to make commands of."""
        if self._client is None:
            raise self._error(f"{self._what} is not open")
        return self._client

    async def answered(self, command: Any) -> Any:
        """The answer to a command; whatever keeps Redis from giving it is an error of the store."""
        try:
            return await cast("Awaitable[Any]", command)
        except (RedisError, OSError, UnicodeError) as error:
            raise self._error(f"{self._what} failed ({type(error).__name__})") from None
