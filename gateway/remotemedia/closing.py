"""The end of an aiortc connection whose caller may be cancelled meanwhile."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from aiortc import RTCPeerConnection

_ends: WeakKeyDictionary[RTCPeerConnection, asyncio.Task[None]] = WeakKeyDictionary()


async def close(connection: RTCPeerConnection) -> None:
    """Close a connection; idempotent. aiortc's own close, cancelled halfway, never ends for the next caller."""
    end = _ends.get(connection)
    if end is None:
        end = _ends[connection] = asyncio.create_task(connection.close())
    await asyncio.shield(end)
