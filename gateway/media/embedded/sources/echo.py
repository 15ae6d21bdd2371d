"""The echo that speaks later: a caller can tell it from his own voice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.packets import NOTHING, Packets


class DelayedEcho:
    """Gives each packet back after a while; a `PacketHandler`. What waits is bounded by the rate a flow accepts."""

    def __init__(self, delay: float, send: Callable[[MediaPacket], None]) -> None:
        """`delay` in s."""
        self._delay = delay
        self._send = send

    def handle(self, packet: MediaPacket, now: float) -> Packets:
        """Keep it; it goes out by itself."""
        asyncio.get_running_loop().call_later(self._delay, self._send, packet)
        return NOTHING
