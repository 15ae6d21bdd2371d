"""The connection to the native plane: frames out in one piece a turn of the loop, frames in one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from gateway.media.embedded.plane.native import wire
from gateway.media.embedded.plane.protocol import PlaneError


class Link(asyncio.Protocol):
    """One connection that has been proved. What comes goes to `receive`, its end to `lost`."""

    def __init__(self, receive: Callable[[int, bytes], None], lost: Callable[[], None]) -> None:
        self._receive = receive
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._in = bytearray()
        self._out: list[bytes] = []
        self._replies: dict[int, asyncio.Future[wire.Reader]] = {}
        self._next = 0
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by their methods only.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take every whole frame."""
        self._in += data
        position = 0
        while len(self._in) - position >= wire.HEAD.size:
            length, kind = wire.HEAD.unpack_from(self._in, position)
            if not 1 <= length <= wire.LONGEST_FRAME:
                self.abort()
                return
            end = position + 4 + length
            if len(self._in) < end:
                break
            body = bytes(self._in[position + wire.HEAD.size : end])
            position = end
            if kind == wire.Up.REPLY:
                self._answer(body)
            else:
                self._receive(kind, body)
        del self._in[:position]

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._transport = None
        waiting, self._replies = self._replies, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(PlaneError("lost", "the packet plane has ended"))
        self._lost()

    def send(self, kind: int, body: bytes = b"") -> None:
        """Have a message written at the end of this turn of the loop, in order."""
        if self._closed:
            return
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(wire.frame(kind, body))

    async def ask(self, kind: int, body: bytes) -> wire.Reader:
        """Send a request and wait for its answer; raises PlaneError."""
        if self._closed:
            raise PlaneError("lost", "the packet plane has ended")
        self._next = number = (self._next + 1) & 0xFFFFFFFF
        future: asyncio.Future[wire.Reader] = asyncio.get_running_loop().create_future()
        self._replies[number] = future
        self.send(kind, number.to_bytes(4) + body)
        try:
            return await future
        finally:
            self._replies.pop(number, None)

    def _answer(self, body: bytes) -> None:
        reader = wire.Reader(body)
        number, worked = reader.number("I"), reader.number("B")
        future = self._replies.pop(number, None)
        if future is None or future.done():
            return
        if worked:
            future.set_result(reader)
        else:
            future.set_exception(PlaneError(reader.text(), reader.text()))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(b"".join(out))

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
