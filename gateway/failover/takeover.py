"""Calls of a gateway that is gone for good: taken by one other gateway of its cluster, which goes on with them.

A gateway is gone where the others have not seen it for three intervals, and it does not answer an OPTIONS either: one
that has lost the store alone keeps its calls. What was taken stands in the store as such until it is gone on with, so
that a gateway which dies meanwhile finds it at its next start, and so does whoever takes its calls.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import structlog

from gateway.app.opening import Opening
from gateway.call.journal import JournalError
from gateway.cluster.cluster import Cluster
from gateway.dialing.outgoing import GatewayDialer
from gateway.failover.lease import LeaseKeeper, let_go
from gateway.failover.recovery import Recovery
from gateway.failover.snapshots import taken_up
from gateway.net.user_agent import UserAgent
from gateway.repeated import Repeated
from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.uri import Uri
from gateway.store.journal_shared import SharedStore
from gateway.tasks import ended

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
        self._seen: set[str] = set()
        """Calls that we have gone on with, or could not, and that stand as taken still."""

    async def run(self, interval: float) -> None:
        """Look every so many seconds, from when the others see us until they do no more."""
        await self._cluster.opened()
        away, failed = "calls of gateways that are gone cannot be seen", "taking calls over failed"
        look = Repeated(self.look, JournalError, away=away, failed=failed)
        while self._cluster.is_open:
            await look.once()
            await asyncio.sleep(interval)

    async def look(self) -> None:
        """Take the calls of whoever is gone, and go on with what was taken. Raises JournalError."""
        nodes = await self._journal.nodes()
        if self._cluster.node not in nodes:
            # We have written nothing yet, or the store has lost it, as one does that keeps nothing on disk.
            await self._recovery.keep_again()
        for node in sorted(nodes - {self._cluster.node}):
            if not self._is_seen(node) and not await self._answers(node) and not self._is_seen(node):
                while moved := await self._journal.take(node):
                    log.info("calls of another gateway are ours now", node=node, calls=moved)
        claimed = await self._journal.claimed()
        self._seen &= claimed
        if claimed - self._seen:
            await self._go_on(sorted(claimed - self._seen))

    def _is_seen(self, node: str) -> bool:
        """Whether another gateway says that it is there, or that it drains."""
        return node in self._cluster.with_calls

    async def _go_on(self, call_ids: Sequence[str]) -> None:
        self._recovery.taken(call_ids)
        taken = 0
        for begin in range(0, len(call_ids), _AT_ONCE):
            some = call_ids[begin : begin + _AT_ONCE]
            found = self._read(some, await self._journal.records(some))
            self._seen.update(some)
            taken += len(found)
            try:
                self._dialer.resumed(await self._recovery.take_over(found))
            except Exception:
                log.exception("taking calls over failed", call_ids=list(found))
            await asyncio.sleep(0)
        if taken:
            log.warning("calls of another gateway were taken over", calls=taken)
        self._news.set()
        self._news = asyncio.Event()

    def _read(self, call_ids: Sequence[str], records: Mapping[str, tuple[bytes, int]]) -> dict[str, dict[str, Any]]:
        found = {}
        for call_id in call_ids:
            try:
                found[call_id] = taken_up(*records.get(call_id, (b"", 0)))
            except JournalError as error:
                log.error("a call of another gateway is lost", call_id=call_id, reason=str(error))
                self._recovery.forget(call_id)
        return found

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
    """Whether the gateway of that SIP URI answers anything, be it that new calls are to go elsewhere."""
    # What stands in the store need not be a URI.
    with suppress(TimeoutError, SipSyntaxError):
        async with asyncio.timeout(_PATIENCE):
            response = await user_agent.request("OPTIONS", Uri.parse(node))
            # Silence is a 408 or a 503 of our own making; one that drains or is full says when to come again.
            return response.status not in (408, 503) or response.retry_after is not None
    return False


async def go_on(
    opening: Opening, recovery: Recovery, cluster: Cluster, user_agent: UserAgent, dialer: GatewayDialer
) -> None:
    """End what does not go on of the process before; from now on take over what others leave (`cluster.journal`)."""
    dialer.resumed(await recovery.end_rest())
    shared, lease = recovery.shared, recovery.lease
    if shared is None or lease is None:
        return

    async def is_there(node: str) -> bool:
        return await answers(user_agent, node)

    takeovers = Takeovers(cluster, shared, recovery, dialer, is_there)
    interval, patience = opening.config.cluster.interval, opening.config.limits.reattach_time

    async def to_come(user: str, tag: str) -> bool:
        return await takeovers.to_come(user, tag, patience)

    recovery.to_come = to_come
    media, say = recovery.engine.handover, user_agent.share(lease.is_ours, lease.waits)
    if media is not None:
        media.waits = lease.waits

    def wait_no_more() -> None:
        say()
        if media is not None:
            media.go_on()

    keeper = LeaseKeeper(
        lease,
        shared,
        interval,
        partial(let_go, recovery.calls, user_agent, media),
        wait_no_more,
        lambda: [is_there(node) for node in cluster.live],
        recovery.gone,
    )
    # Goodbyes wait for nothing; what waits already is told once that is so.
    opening.stack.callback(wait_no_more)
    opening.stack.callback(lease.renewed, math.inf)
    opening.stack.push_async_callback(ended, asyncio.create_task(keeper.run()))
    opening.stack.push_async_callback(ended, asyncio.create_task(takeovers.run(interval)))
