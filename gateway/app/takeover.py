"""Calls of a gateway that is gone for good: taken by one other gateway of its cluster, which goes on with them.

A gateway is gone where the others have not seen it for three intervals, and it does not answer an OPTIONS either: one
that has lost the store alone keeps its calls.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

import structlog

from gateway.app.cluster import Cluster
from gateway.app.dialer import GatewayDialer
from gateway.app.observers import ended
from gateway.app.opening import Opening
from gateway.app.recovery import Recovery
from gateway.call.journal import JournalError, read
from gateway.net.user_agent import UserAgent
from gateway.sip.flow import Flow
from gateway.sip.message.uri import Uri
from gateway.store.journal_shared import SharedStore

log = structlog.get_logger(__name__)

_PATIENCE = 2.0
"""Seconds that another gateway may take over an OPTIONS before it is gone."""
_AT_ONCE = 20
"""Calls that are taken up before others have their turn."""


class _Asked(Protocol):
    async def __call__(self, node: str) -> bool: ...


class Takeovers:
    """Looks for gateways that are gone, and goes on with their calls."""

    def __init__(
        self, cluster: Cluster, journal: SharedStore, recovery: Recovery, dialer: GatewayDialer, answers: _Asked
    ) -> None:
        """`answers` says whether another gateway does."""
        self._cluster = cluster
        self._journal = journal
        self._recovery = recovery
        self._dialer = dialer
        self._answers = answers
        self._news = asyncio.Event()

    async def run(self, interval: float) -> None:
        """Look every so many seconds, from when the others see us until they do no more."""
        await self._cluster.opened()
        is_seen = False
        while self._cluster.is_open:
            try:
                if not is_seen:
                    await self._journal.started()
                    is_seen = True
                await self.look()
            except JournalError as error:
                log.warning("calls of gateways that are gone cannot be seen", reason=str(error))
            except Exception:
                log.exception("taking calls over failed")
            await asyncio.sleep(interval)

    async def look(self) -> None:
        """Take the calls of whoever is gone. Raises JournalError."""
        for node in sorted(await self._journal.nodes() - {self._cluster.node}):
            if node not in self._cluster.live and not await self._answers(node) and node not in self._cluster.live:
                await self._take(node)

    async def _take(self, node: str) -> None:
        records = await self._journal.take(node)
        found = {}
        for call_id, record in records.items():
            try:
                found[call_id] = read(record)
            except JournalError as error:
                log.error("a call of another gateway is lost", call_id=call_id, node=node, reason=str(error))
                self._recovery.forget(call_id)
        for begin in range(0, len(found), _AT_ONCE):
            some = dict(list(found.items())[begin : begin + _AT_ONCE])
            self._dialer.resumed(await self._recovery.take_over(some))
        if found:
            log.warning("calls of another gateway were taken over", node=node, calls=len(found))
        self._news.set()
        self._news = asyncio.Event()

    async def to_come(self, user: str, tag: str, patience: float) -> bool:
        """Whether a page's call is here, once it was taken over from a gateway that is gone; waits so long (s)."""
        with suppress(TimeoutError, JournalError):
            async with asyncio.timeout(patience):
                while self._recovery.left.of(user, tag) is None:
                    news, node = self._news, await self._journal.node_of(tag)
                    if node is None:
                        return False
                    await news.wait()
        return self._recovery.left.of(user, tag) is not None


async def answers(user_agent: UserAgent, node: str) -> bool:
    """Whether the gateway of that SIP URI answers anything."""
    heard: list[Flow] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await user_agent.request("OPTIONS", Uri.parse(node), answered_by=heard.append)
    return bool(heard)


async def go_on(
    opening: Opening, recovery: Recovery, cluster: Cluster, user_agent: UserAgent, dialer: GatewayDialer
) -> None:
    """End what does not go on of the process before; from now on take over what others leave (`cluster.journal`)."""
    dialer.resumed(await recovery.end_rest())
    if recovery.shared is None:
        return

    async def is_there(node: str) -> bool:
        return await answers(user_agent, node)

    takeovers = Takeovers(cluster, recovery.shared, recovery, dialer, is_there)
    interval, patience = opening.config.cluster.interval, opening.config.limits.reattach_time

    async def to_come(user: str, tag: str) -> bool:
        return await takeovers.to_come(user, tag, patience)

    recovery.to_come = to_come
    opening.stack.push_async_callback(ended, asyncio.create_task(takeovers.run(interval)))
