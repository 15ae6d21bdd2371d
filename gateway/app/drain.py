"""A gateway that takes no new calls and waits for those that are up, while its users go elsewhere."""

from __future__ import annotations

import asyncio
import math

from gateway.call.registry import Calls
from gateway.cluster.cluster import Cluster
from gateway.legs.web_clients import Presence
from gateway.net.user_agent import UserAgent
from gateway.tasks import ended

_EVERY = 1.0
"""Seconds between two looks at who is in no call any more."""
_LAST = 5.0
"""Seconds that the others' store may take to hear of our end: before who is idle goes, and after the last call."""


async def drain(user_agent: UserAgent, presence: Presence, cluster: Cluster, calls: Calls, seconds: float) -> None:
    """Refuse new calls, tell everybody so, and wait for the last call to end, at most so long.

    Where there is another gateway, or comes up meanwhile, pages and SIP clients over WebSocket are sent there once they
    are in no call.
    """
    user_agent.drain(math.ceil(seconds))
    time = asyncio.get_running_loop().time
    elsewhere, end = bool(cluster.live), time() + seconds
    presence.drain(seconds, elsewhere)
    telling = asyncio.create_task(cluster.drain())
    leaving = asyncio.create_task(_send_away(user_agent, presence, cluster, elsewhere, end, telling))
    try:
        await calls.drain(seconds)
        await asyncio.wait((telling,), timeout=_LAST)
        await calls.drain(max(0.0, end - time()))  # of those that were let in meanwhile
    finally:
        await ended(telling)
        await ended(leaving)
        if cluster.live:
            user_agent.send_away_idle()


async def _send_away(
    user_agent: UserAgent,
    presence: Presence,
    cluster: Cluster,
    elsewhere: bool,
    end: float,
    telling: asyncio.Task[None],
) -> None:
    """Once the others know that we are going, or cannot be told; `elsewhere` is what pages were told of them."""
    await asyncio.wait((telling,), timeout=_LAST)
    while True:
        if elsewhere != bool(cluster.live):
            elsewhere = not elsewhere
            presence.drain(max(0.0, end - asyncio.get_running_loop().time()), elsewhere)
        if elsewhere:
            user_agent.send_away_idle()
        await asyncio.sleep(_EVERY)
