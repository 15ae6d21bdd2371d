"""Keeps the way to trunks open by CRLF keep-alives (RFC 5626 3.5.1), for those that want them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from gateway.config.people import Trunk
from gateway.sip.flow import Flow
from gateway.sip.message.uri import Uri


class KeepsAlive(Protocol):
    """What sends them (gateway.net.user_agent.UserAgent)."""

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]: ...

    async def keep_alive(self, flows: Sequence[Flow]) -> None: ...


class KeepAlives:
    """One keep-alive a place and interval."""

    def __init__(self, agent: KeepsAlive, trunks: Iterable[Trunk], random: Callable[[], float]) -> None:
        """`random` gives numbers in [0, 1): gateways that were started together do not come together for ever."""
        self._agent = agent
        self._trunks = [trunk for trunk in trunks if trunk.crlf_interval > 0]
        self._random = random
        self._tasks: list[asyncio.Task[Any]] = []

    def begin(self) -> None:
        """Start; returns at once."""
        loop = asyncio.get_running_loop()
        for trunk in self._trunks:
            for place in trunk.proxies or trunk.uris:
                self._tasks.append(loop.create_task(self._keep(Uri.parse(place), trunk.crlf_interval)))

    async def close(self) -> None:
        """Send no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, place: Uri, interval: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # Between 80 and 100 % of it (RFC 5626 4.4).
            due = loop.time() + interval * (0.8 + 0.2 * self._random())
            await self._agent.keep_alive(await self._agent.resolve(place))
            await asyncio.sleep(due - loop.time())
