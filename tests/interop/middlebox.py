"""What stands between a phone and the gateway and is neither: it passes UDP on, altered or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

Address = tuple[str, int]


class _Side(asyncio.DatagramProtocol):
    """One of its two sockets."""

    def __init__(self, alters: Callable[[bytes], bytes | None]) -> None:
        self._alters = alters
        self._transport: asyncio.DatagramTransport
        self.other: _Side
        self.peer: Address | None = None
        """Where it passes things on to; the caller's is learnt from what comes."""
        self.dropped: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        """The first datagram that it did not pass on."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, source: Address) -> None:
        self.peer = source
        altered = self._alters(data)
        if altered is not None and self.other.peer is not None:
            self.other._transport.sendto(altered, self.other.peer)
        elif altered is None and not self.dropped.done():
            self.dropped.set_result(data)


@contextlib.asynccontextmanager
async def middlebox(
    inside: Address, alters: Callable[[bytes], bytes | None], port: int = 0
) -> AsyncIterator[tuple[Address, asyncio.Future[bytes]]]:
    """Between whoever sends to the yielded address and `inside`; `alters` sees every datagram of both directions.

    The future has the first one that it dropped, by None.
    """
    loop = asyncio.get_running_loop()
    there, outer = await loop.create_datagram_endpoint(lambda: _Side(alters), local_addr=("127.0.0.1", port))
    here, inner = await loop.create_datagram_endpoint(lambda: _Side(alters), local_addr=("127.0.0.1", 0))
    outer.other, inner.other, inner.peer = inner, outer, inside
    try:
        yield there.get_extra_info("sockname")[:2], outer.dropped
    finally:
        there.close()
        here.close()
